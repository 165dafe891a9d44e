"""The 11 semantic classes of a portrait, and their colors for display.

Label maps hold `SemanticClass` values, (height, width) uint8. Colors exist only for display.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class SemanticClass(IntEnum):
    """What a pixel shows. Left and right are merged, so are the upper and the lower lip.

    Source: the class list of SSP-NeRF's released preprocessing (19 CelebAMask classes merged to
    11); the numbers are ours.
    """

    BACKGROUND = 0
    SKIN = 1
    BROW = 2
    EYE = 3
    EAR = 4
    NOSE = 5
    MOUTH_INTERIOR = 6
    LIP = 7
    NECK = 8
    TORSO = 9
    HAIR = 10


SEMANTIC_CLASSES = len(SemanticClass)
CLASS_NAMES = tuple(member.name.lower() for member in SemanticClass)
MOUTH_CLASSES = (SemanticClass.MOUTH_INTERIOR, SemanticClass.LIP)
# As AD-NeRF divides the person: the neck belongs to the torso.
BODY_CLASSES = (SemanticClass.NECK, SemanticClass.TORSO)
HEAD_CLASSES = tuple(
    member for member in SemanticClass if member not in (SemanticClass.BACKGROUND, *BODY_CLASSES)
)
# What surely moves with the head: long hair lies on the shoulders.
STILL_CLASSES = tuple(member for member in HEAD_CLASSES if member != SemanticClass.HAIR)

# Okabe and Ito's colour-blind safe hues, extended by tints; order of SemanticClass.
PALETTE: NDArray[np.uint8] = np.array(
    [
        (245, 245, 245),
        (240, 200, 160),
        (90, 60, 30),
        (86, 180, 233),
        (213, 94, 0),
        (230, 159, 0),
        (120, 0, 40),
        (204, 121, 167),
        (240, 228, 66),
        (0, 114, 178),
        (0, 158, 115),
    ],
    dtype=np.uint8,
)


def color_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Paint a label map for display.

    Args:
        labels: `SemanticClass` values. Shape (..., height, width).

    Returns:
        RGB, shape (..., height, width, 3), uint8.

    Raises:
        ValueError: If a value is no class.
    """
    if labels.size and labels.max() >= SEMANTIC_CLASSES:
        raise ValueError(
            f"labels hold the value {labels.max()}; expected 0 to {SEMANTIC_CLASSES - 1}"
        )
    return PALETTE[labels]
