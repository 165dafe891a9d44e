"""Which square of the source picture becomes the frame.

Everything after this sees only the square: landmarks, masks and the camera. MediaPipe assumes that
the picture which it is given was taken with a vertical field of view of 63 degrees and that its
centre is the principal point, so on the square it is right about both by definition, and the clip's
camera is the centred one of that field of view. The true lens differs; so does the depth of
everything, evenly.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import UsageError

# The square is so many times as high as the face (chin to the top of the forehead).
FACES_PER_SIDE = 3.0
# Middle of the face, from the square's top: hair above, shoulders below.
FACE_CENTER = 0.42

Box = tuple[int, int, int, int]


def choose_crop(width: int, height: int, faces: Sequence[NDArray[np.float32]]) -> Box:
    """Choose the square around head and shoulders; a square picture is taken whole.

    Args:
        width: Of the source picture, px.
        height: Of the source picture, px.
        faces: Landmarks of some frames, source px; at least one. Each of shape (478, 3).

    Returns:
        x0, y0, x1, y1 in source px, end exclusive, inside the picture.
    """
    if width == height:
        return (0, 0, width, height)
    low = np.median([face[:, :2].min(axis=0) for face in faces], axis=0)
    high = np.median([face[:, :2].max(axis=0) for face in faces], axis=0)
    side = round(min(FACES_PER_SIDE * (high[1] - low[1]), width, height))
    center = (low + high) / 2
    x0 = round(min(max(center[0] - side / 2, 0), width - side))
    y0 = round(min(max(center[1] - FACE_CENTER * side, 0), height - side))
    return (x0, y0, x0 + side, y0 + side)


def check_crop(crop: Box, width: int, height: int) -> None:
    """Refuse a crop that a picture does not hold.

    Raises:
        UsageError: If it reaches beyond the picture.
    """
    x0, y0, x1, y1 = crop
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise UsageError(
            f"the crop {x0},{y0},{x1},{y1} reaches beyond the picture of {width} x {height} px",
            f"give x0,y0,x1,y1 between 0,0 and {width},{height}",
        )


def crop_picture(picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Cut a box out of a picture (a view). Shape (y1 - y0, x1 - x0, 3)."""
    x0, y0, x1, y1 = box
    return picture[y0:y1, x0:x1]
