"""The classes of CelebAMask-HQ, in which face-parsing networks speak."""

from enum import IntEnum

# Side of the pictures that the published weights were trained on, px.
FACE_SIDE = 512


class CelebAMaskClass(IntEnum):
    """What the network can say; left and right are the person's own. Lee et al. 2020."""

    BACKGROUND = 0
    SKIN = 1
    LEFT_BROW = 2
    RIGHT_BROW = 3
    LEFT_EYE = 4
    RIGHT_EYE = 5
    GLASSES = 6
    LEFT_EAR = 7
    RIGHT_EAR = 8
    EARRING = 9
    NOSE = 10
    MOUTH = 11
    UPPER_LIP = 12
    LOWER_LIP = 13
    NECK = 14
    NECKLACE = 15
    CLOTH = 16
    HAIR = 17
    HAT = 18
