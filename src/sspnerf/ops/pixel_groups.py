"""Whole pictures of classes and masks: which pixels are of a group, and which are near a mask."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sspnerf.ops import backend

CPU = torch.device("cpu")


class PixelGroups(NamedTuple):
    """The pixels of a picture, sorted by group: those of k are order[starts[k]:starts[k + 1]]."""

    order: NDArray[np.int32]
    """Indices into the flattened picture, increasing inside each group. Shape (pixels,)."""
    starts: NDArray[np.int64]
    """Where each group starts in `order`, and its end. Shape (groups + 1,)."""


def group_pixels(labels: NDArray[np.uint8], *, groups: int) -> PixelGroups:
    """List the pixels of each group.

    Args:
        labels: Group of each pixel, below `groups`. Shape (pixels,).
        groups: How many groups there are.

    Returns:
        The sorted pixels; groups may be empty.

    Raises:
        ValueError: If a label is no group.

    Example:
        >>> order, starts = group_pixels(np.array([2, 0, 2], np.uint8), groups=3)
        >>> order.tolist(), starts.tolist()
        ([1, 0, 2], [0, 1, 1, 3])
    """
    if labels.size and labels.max() >= groups:
        raise ValueError(f"labels hold the value {labels.max()}; expected 0 to {groups - 1}")
    if backend.choose(CPU).name != "numba":
        return reference_group_pixels(labels, groups=groups)
    from sspnerf.ops.numba_kernels import pixel_groups as kernels

    order, starts = np.empty(len(labels), np.int32), np.empty(groups + 1, np.int64)
    kernels.group_pixels(labels, groups, order, starts)
    return PixelGroups(order, starts)


def reference_group_pixels(labels: NDArray[np.uint8], *, groups: int) -> PixelGroups:
    """Do the same as `group_pixels` in NumPy: the specification."""
    order = np.argsort(labels, kind="stable").astype(np.int32)
    ends = np.cumsum(np.bincount(labels, minlength=groups), dtype=np.int64)
    return PixelGroups(order, np.concatenate((np.zeros(1, np.int64), ends)))


def dilate(masks: NDArray[np.uint8], *, threshold: int, radius: int) -> NDArray[np.bool_]:
    """Mark the square around each pixel whose mask value is above a threshold.

    Args:
        masks: Soft masks, 0 to 255. Shape (frames, height, width).
        threshold: Values above it count, 0 to 255.
        radius: How far the square reaches to each side, px, >= 0.

    Returns:
        Whether such a pixel is in the square around each. Shape (frames, height, width).

    Raises:
        ValueError: If the radius is negative.

    Example:
        >>> dilate(np.array([[[0, 0, 0, 9]]], np.uint8), threshold=5, radius=1)
        array([[[False, False,  True,  True]]])
    """
    if radius < 0:
        raise ValueError(f"radius is {radius}; expected at least 0")
    if backend.choose(CPU).name != "numba" or not masks.size:
        return reference_dilate(masks, threshold=threshold, radius=radius)
    from sspnerf.ops.numba_kernels import pixel_groups as kernels

    frames, height, width = masks.shape
    flat = np.ascontiguousarray(masks).reshape(frames, height * width)
    rows, near = np.zeros_like(flat), np.zeros_like(flat)
    kernels.dilate(flat, width, threshold, radius, rows, near)
    return near.view(np.bool_).reshape(masks.shape)


def reference_dilate(masks: NDArray[np.uint8], *, threshold: int, radius: int) -> NDArray[np.bool_]:
    """Do the same as `dilate` in NumPy: the specification."""
    marked = masks > threshold
    rows = marked.copy()
    for shift in range(1, radius + 1):
        rows[..., shift:] |= marked[..., :-shift]
        rows[..., :-shift] |= marked[..., shift:]
    near = rows.copy()
    for shift in range(1, radius + 1):
        near[..., shift:, :] |= rows[..., :-shift, :]
        near[..., :-shift, :] |= rows[..., shift:, :]
    return near
