"""What pictures on disk show at single pixels: no whole picture is read or copied."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sspnerf.ops import backend
from sspnerf.ops.pixel_groups import CPU, read_only


class GatheredPixels(NamedTuple):
    """The truth of rays."""

    color: Float[Tensor, "rays 3"]
    """Of the frame, [0, 1]."""
    label: Int[Tensor, " rays"]
    """Semantic class."""
    mask: Float[Tensor, " rays"]
    """Whether the person is seen, [0, 1]."""
    background: Float[Tensor, "rays 3"]
    """Plate behind the person, [0, 1]."""


def gather_pixels(
    frames: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    background: NDArray[np.uint8],
    *,
    frame: NDArray[np.int64],
    pixel: NDArray[np.int64],
) -> GatheredPixels:
    """Read a clip's arrays, usually memory maps, where rays pass.

    Args:
        frames: Pictures, 0 to 255. Shape (frames, height, width, 3).
        labels: Semantic classes. Shape (frames, height, width).
        mask: Soft person masks, 0 to 255. Shape (frames, height, width).
        background: Plate behind the person, 0 to 255. Shape (height, width, 3).
        frame: Frame of each ray. Shape (rays,).
        pixel: Its pixel, an index into the flattened picture. Shape (rays,).

    Returns:
        What is there; exactly value / 255.

    Raises:
        ValueError: If the arrays' shapes do not fit together.
        IndexError: If a frame or a pixel is not there.

    Example:
        >>> picture, plate = np.full((1, 1, 2, 3), 255, np.uint8), np.zeros((1, 2, 3), np.uint8)
        >>> labels, mask = np.array([[[4, 9]]], np.uint8), np.array([[[0, 51]]], np.uint8)
        >>> ray = {"frame": np.array([0]), "pixel": np.array([1])}
        >>> found = gather_pixels(picture, labels, mask, plate, **ray)
        >>> found.color.tolist(), found.label.tolist(), [round(float(found.mask), 4)]
        ([[1.0, 1.0, 1.0]], [9], [0.2])
    """
    _check(frames, labels, mask, background, frame, pixel)
    pictures = (frames, labels, mask, background)
    # To bring others into the order that the kernel reads would copy whole clips.
    in_order = all(array.flags.c_contiguous for array in pictures)
    if backend.choose(CPU).name != "numba" or not in_order:
        return reference_gather_pixels(*pictures, frame=frame, pixel=pixel)
    from sspnerf.ops.numba_kernels import pixel_gathering as kernels

    count, pixels, rays = len(frames), background.shape[0] * background.shape[1], len(frame)
    found = GatheredPixels(
        torch.empty(rays, 3),
        torch.empty(rays, dtype=torch.int64),
        torch.empty(rays),
        torch.empty(rays, 3),
    )
    kernels.gather_pixels(
        read_only(frames).reshape(count, pixels, 3),
        read_only(labels).reshape(count, pixels),
        read_only(mask).reshape(count, pixels),
        read_only(background).reshape(pixels, 3),
        np.ascontiguousarray(frame),
        np.ascontiguousarray(pixel),
        *(tensor.numpy() for tensor in found),
    )
    return found


def _check(
    frames: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    background: NDArray[np.uint8],
    frame: NDArray[np.int64],
    pixel: NDArray[np.int64],
) -> None:
    shape = (*labels.shape, 3)
    if frames.shape != shape or mask.shape != labels.shape or background.shape != shape[1:]:
        raise ValueError(
            f"frames, labels, mask and background have shapes {frames.shape}, {labels.shape}, "
            f"{mask.shape} and {background.shape}; expected the same pictures in all"
        )
    if frame.shape != pixel.shape or frame.ndim != 1:
        raise ValueError(
            f"frame and pixel have shapes {frame.shape} and {pixel.shape}; expected (rays,) both"
        )
    for name, index, end in (
        ("frame", frame, len(frames)),
        ("pixel", pixel, background.shape[0] * background.shape[1]),
    ):
        # A kernel would read memory that is not ours.
        if index.size and (index.min() < 0 or index.max() >= end):
            raise IndexError(
                f"{name} reaches from {index.min()} to {index.max()}; expected 0 to {end - 1}"
            )


def reference_gather_pixels(
    frames: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    background: NDArray[np.uint8],
    *,
    frame: NDArray[np.int64],
    pixel: NDArray[np.int64],
) -> GatheredPixels:
    """Do the same as `gather_pixels` with indices: the specification."""
    row, column = np.divmod(pixel, background.shape[1])
    return GatheredPixels(
        torch.from_numpy(frames[frame, row, column]).float() / 255,
        torch.from_numpy(labels[frame, row, column]).long(),
        torch.from_numpy(mask[frame, row, column]).float() / 255,
        torch.from_numpy(background[row, column]).float() / 255,
    )
