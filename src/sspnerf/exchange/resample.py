"""Pictures at another size."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resample_picture(picture: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resample, averaging where the picture shrinks.

    Args:
        picture: RGB (height, width, 3) or gray (height, width).
        shape: Height and width to have.
    """
    return _resample(picture, shape, smooth=True)


def resample_labels(labels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resample a label map: each pixel takes the label at its middle."""
    return _resample(labels, shape, smooth=False)


def _resample(
    picture: NDArray[np.uint8], shape: tuple[int, ...], *, smooth: bool
) -> NDArray[np.uint8]:
    height, width = shape[:2]
    if picture.shape[:2] == (height, width):
        return picture
    method = Image.Resampling.NEAREST
    if smooth:
        shrinks = height < picture.shape[0]
        method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(picture).resize((width, height), method))
