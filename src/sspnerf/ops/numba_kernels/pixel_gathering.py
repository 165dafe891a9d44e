"""Single pixels of many pictures; see `ops.pixel_gathering`."""

from typing import no_type_check

import numpy as np
from numba import njit

from sspnerf.ops.numba_kernels.types import Bytes, Floats, Indices

_WHITE = np.float32(255)


# No liberties with the arithmetic: a division by 255 is a division, as everywhere else.
@njit(cache=True, nogil=True)
@no_type_check
def gather_pixels(
    frames: Bytes,
    labels: Bytes,
    mask: Bytes,
    background: Bytes,
    frame: Indices,
    pixel: Indices,
    color: Floats,
    label: Indices,
    person: Floats,
    behind: Floats,
) -> None:
    """Fill color, label, person and behind with what the pictures show at each ray's pixel.

    frames: (frames, pixels, 3); labels, mask: (frames, pixels); background: (pixels, 3); all that
    is filled: (rays, ...). frame and pixel are inside.
    """
    for ray in range(frame.shape[0]):
        picture, place = frame[ray], pixel[ray]
        for channel in range(3):
            color[ray, channel] = np.float32(frames[picture, place, channel]) / _WHITE
            behind[ray, channel] = np.float32(background[place, channel]) / _WHITE
        label[ray] = labels[picture, place]
        person[ray] = np.float32(mask[picture, place]) / _WHITE
