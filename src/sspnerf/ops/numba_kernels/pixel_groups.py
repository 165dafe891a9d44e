"""Pixels of whole pictures; see `ops.pixel_groups`."""

from typing import no_type_check

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from sspnerf.ops.numba_kernels.types import Bytes, Indices


@njit(cache=True)
@no_type_check
def group_pixels(labels: Bytes, classes: int, order: NDArray[np.int32], starts: Indices) -> None:
    """Counting sort of a flat label map: the pixels of class k are order[starts[k]:starts[k + 1]].

    Labels are below `classes`; order has one place per pixel, starts has classes + 1.
    """
    for k in range(classes + 1):
        starts[k] = 0
    for pixel in range(labels.shape[0]):
        starts[labels[pixel] + 1] += 1
    for k in range(classes):
        starts[k + 1] += starts[k]
    place = starts[:classes].copy()
    for pixel in range(labels.shape[0]):
        label = labels[pixel]
        order[place[label]] = pixel
        place[label] += 1


@njit(inline="always")
@no_type_check
def _spread(
    mask: Bytes, first: int, stride: int, count: int, threshold: int, radius: int, out: Bytes
) -> None:
    """Mark along one line every place within `radius` of a mask value above the threshold."""
    last = -radius - 1
    for place in range(count + radius):
        if place < count and mask[first + place * stride] > threshold:
            last = place
        if place >= radius and place - radius - radius <= last:
            # Everything seen up to `place` reaches back to place - radius.
            out[first + (place - radius) * stride] = 1


@njit(parallel=True, cache=True)
@no_type_check
def dilate(masks: Bytes, width: int, threshold: int, radius: int, rows: Bytes, out: Bytes) -> None:
    """Fill out[frame, pixel] with 1 within a square of `radius` px around mask values > threshold.

    masks, rows, out: (frames, pixels) uint8; rows is scratch. Both scratch and out must be zero.
    """
    height = masks.shape[1] // width
    for frame in prange(masks.shape[0]):
        for row in range(height):
            _spread(masks[frame], row * width, 1, width, threshold, radius, rows[frame])
        for column in range(width):
            _spread(rows[frame], column, width, height, 0, radius, out[frame])
