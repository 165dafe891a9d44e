"""A few frames at a few pixels: enough for what many frames show alike."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sspnerf.data.dataset import ClipDataset
from sspnerf.geometry.cameras import pixel_centers


class Lattice(NamedTuple):
    """Some pixels of a frame, in even steps."""

    frame: int
    """Which frame of the clip."""
    rows: slice
    """Rows that belong to it."""
    columns: slice
    """Columns that belong to it."""
    pixels: Float[Tensor, "points 2"]
    """Pixel centres, row by row, px."""


def lattices(
    dataset: ClipDataset, *, frames: int, points: int, generator: np.random.Generator
) -> Iterator[Lattice]:
    """Lay a lattice over training frames, each time a little shifted.

    After some frames every pixel has been looked at, in some frame or other. What that costs
    depends neither on the clip's length nor on its size.

    Args:
        dataset: The clip.
        frames: Look at about so many frames, spread over those for training.
        points: Along the shorter side of the pictures, about; fewer where they are smaller.
        generator: Source of randomness: the shifts.

    Yields:
        The lattices, in the order of frames.
    """
    width, height = dataset.clip.manifest.width, dataset.clip.manifest.height
    step = max(1, round(min(width, height) / points))
    centers = pixel_centers(width, height).view(height, width, 2)
    for frame in dataset.usable[:: max(1, len(dataset.usable) // frames)]:
        down, right = generator.integers(0, step, 2).tolist()
        rows, columns = slice(down, None, step), slice(right, None, step)
        yield Lattice(int(frame), rows, columns, centers[rows, columns].reshape(-1, 2))
