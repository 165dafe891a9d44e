"""Whole pictures of classes and masks: which pixels are of a group, and which are near a mask."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sspnerf.ops import backend

CPU = torch.device("cpu")


class PixelGroups(NamedTuple):
    """The pixels of a picture, sorted by group and inside each group as they lie, row by row.

    Kept as runs: neighbours in a row that are of the same group. A picture has far fewer runs than
    pixels.
    """

    first: NDArray[np.int32]
    """First pixel of each run, as index into the flattened picture. Shape (runs,)."""
    rank: NDArray[np.int32]
    """Its rank among the sorted pixels, growing. Shape (runs,)."""
    starts: NDArray[np.int64]
    """Rank at which each group starts, and the end of the last. Shape (groups + 1,)."""

    def at(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the pixels of these ranks, which are below `starts[-1]`. Shape as of `ranks`."""
        run = np.searchsorted(self.rank, ranks.astype(np.int32), side="right") - 1
        return self.first[run] + (ranks - self.rank[run])


def group_pixels(
    groups: NDArray[np.uint8],
    *,
    count: int,
    labels: NDArray[np.uint8] | None = None,
    mask: NDArray[np.uint8] | None = None,
    threshold: int = 0,
    radius: int = 0,
) -> PixelGroups:
    """List the pixels of each group, on request without background that is far from a mask.

    Args:
        groups: Group of each pixel, below `count`. Shape (height, width).
        count: How many groups there are, at most 255.
        labels: What each pixel shows, 0 = background; only with a mask, and if that is not what
            `groups` says. Shape (height, width).
        mask: Soft mask, 0 to 255: background further than `radius` px (in rows or in columns) from
            all values above `threshold` is of no group. Shape (height, width). None: all pixels
            are of their groups.
        threshold: Mask values above it count, 0 to 255.
        radius: Px, >= 0.

    Returns:
        The sorted pixels; groups may be empty.

    Raises:
        ValueError: If a pixel is of no group, shapes differ or the radius is negative.

    Example:
        >>> pixels = group_pixels(np.array([[2, 0, 2]], np.uint8), count=3)
        >>> pixels.at(np.arange(3)).tolist(), pixels.starts.tolist()
        ([1, 0, 2], [0, 1, 1, 3])
    """
    labels = groups if labels is None else labels
    _check(groups, labels, mask, count, radius)
    if backend.choose(CPU).name != "numba":
        return reference_group_pixels(
            groups, count=count, labels=labels, mask=mask, threshold=threshold, radius=radius
        )
    from sspnerf.ops.numba_kernels import pixel_groups as kernels

    width, pixels = groups.shape[1], groups.size
    lines = np.empty((4, -(-(width + 2 * radius) // kernels.WORD) * kernels.WORD), np.uint8)
    # What a picture of few runs leaves unused is never touched, and so costs no memory.
    scratch, starts = np.empty((4, pixels + 1), np.int32), np.empty((3, count + 1), np.int64)
    found, first, rank = scratch[:2], scratch[2], scratch[3]
    pictures = (groups, labels, np.empty((0, 0), np.uint8) if mask is None else mask)
    runs = kernels.group_pixels(
        *map(read_only, pictures), threshold, radius, lines, found, first, rank, starts
    )
    return PixelGroups(first[:runs], rank[:runs], starts[0])


def _check(
    groups: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    count: int,
    radius: int,
) -> None:
    if groups.size and groups.max() >= count:
        raise ValueError(f"labels hold the value {groups.max()}; expected 0 to {count - 1}")
    if radius < 0:
        raise ValueError(f"radius is {radius}; expected at least 0")
    for picture in (labels, groups if mask is None else mask):
        if picture.shape != groups.shape:
            raise ValueError(f"a picture has shape {picture.shape}; expected {groups.shape}")


def read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a contiguous view that cannot be written to: one type of array, one compiled kernel.

    Memory maps of a clip are read-only already.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def reference_group_pixels(
    groups: NDArray[np.uint8],
    *,
    count: int,
    labels: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    threshold: int,
    radius: int,
) -> PixelGroups:
    """Do the same as `group_pixels` in NumPy: the specification."""
    kept = np.ones(groups.shape, dtype=bool)
    if mask is not None:
        kept = (labels != 0) | dilate(mask, threshold=threshold, radius=radius)
    of = np.where(kept, groups, np.uint8(count))
    begins = np.ones(of.shape, dtype=bool)
    begins[:, 1:] = of[:, 1:] != of[:, :-1]
    first = np.flatnonzero(begins)
    length, group = np.diff(first, append=groups.size), of.reshape(-1)[first]
    order = np.argsort(group, kind="stable")[: np.count_nonzero(group < count)]
    ends = np.cumsum(length[order])
    pixels = np.bincount(group, weights=length, minlength=count + 1)[:count].astype(np.int64)
    return PixelGroups(
        first[order].astype(np.int32),
        (ends - length[order]).astype(np.int32),
        np.concatenate((np.zeros(1, np.int64), np.cumsum(pixels))),
    )


def dilate(mask: NDArray[np.uint8], *, threshold: int, radius: int) -> NDArray[np.bool_]:
    """Mark the square around each pixel whose mask value is above a threshold.

    Args:
        mask: Soft mask, 0 to 255. Shape (height, width).
        threshold: Values above it count, 0 to 255.
        radius: How far the square reaches to each side, px, >= 0.

    Returns:
        Whether such a pixel is in the square around each. Shape (height, width).

    Example:
        >>> dilate(np.array([[0, 0, 0, 9]], np.uint8), threshold=5, radius=1)
        array([[False, False,  True,  True]])
    """
    marked = mask > threshold
    rows = marked.copy()
    for shift in range(1, radius + 1):
        rows[:, shift:] |= marked[:, :-shift]
        rows[:, :-shift] |= marked[:, shift:]
    near = rows.copy()
    for shift in range(1, radius + 1):
        near[shift:] |= rows[:-shift]
        near[:-shift] |= rows[shift:]
    return near
