"""Which pixels to learn from: semantic-aware dynamic ray sampling.

The rays of a step are shared out among the semantic classes: first equally, then in proportion to
each class's mean loss (photometric + semantic), measured while training. Inside a class pixels are
drawn uniformly. Background further than a few pixels from the person is left out: the plate says
all of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.ops import numba_kernels

# A pixel counts as near the person within this many px of a mask value above the threshold.
PERSON_THRESHOLD = 12
PERSON_MARGIN_PX = 4
# No class with pixels gets less than this share, so that its loss stays known.
FLOOR_SHARE = 0.02
# The mean loss of a class forgets at this rate per step, once it has been seen for long enough.
LOSS_MEMORY = 0.99


class Pixels(NamedTuple):
    """Pixels of several frames."""

    slot: NDArray[np.int64]
    """Which of the frames each pixel is of. Shape (rays,)."""
    pixel: NDArray[np.int64]
    """Index into the flattened picture. Shape (rays,)."""


def allocate_rays(
    losses: NDArray[np.float64], available: NDArray[np.int64], *, rays: int
) -> NDArray[np.int64]:
    r"""Share rays out among classes.

    .. math:: N_k = N_s \\bar L_k / \\sum_j \\bar L_j

    Classes without pixels get none and hand their share on; so does a class that has fewer pixels
    than its share, unless all pixels together are fewer than the rays. Every class with pixels gets
    at least a small floor. Rounding goes to the largest remainders, so that the sum is exact.

    Args:
        losses: Mean loss of each class, >= 0; all equal at first. Shape (classes,).
        available: Pixels of each class to draw from. Shape (classes,).
        rays: Rays to share out.

    Returns:
        Rays of each class, summing to `rays` (to 0 if no class has pixels). Shape (classes,).

    Example:
        >>> allocate_rays(np.array([3.0, 1.0, 5.0]), np.array([9, 9, 0]), rays=8)
        array([6, 2, 0])
        >>> allocate_rays(np.array([3.0, 1.0, 4.0]), np.array([99, 99, 2]), rays=10)
        array([6, 2, 2])

    Source: Liu et al. 2022 (arXiv:2201.07786), figure 2; floor, cap and handing on are ours.
    """
    present = available > 0
    if not present.any():
        return np.zeros(len(losses), dtype=np.int64)
    share = np.where(present, losses, 0.0)
    share = share / share.sum() if share.sum() > 0 else present / present.sum()
    share = np.where(present, np.maximum(share, FLOOR_SHARE), 0.0)
    exact = _capped(share, available, rays)
    count = np.floor(exact).astype(np.int64)
    largest = np.argsort(count - exact, kind="stable")[: rays - count.sum()]
    count[largest] += 1
    return np.asarray(count)


def _capped(
    share: NDArray[np.float64], available: NDArray[np.int64], rays: int
) -> NDArray[np.float64]:
    """Share rays out so that no class gets more than it has pixels, if that can be."""
    capped = np.zeros(len(share), dtype=bool)
    while True:
        left = rays - available[capped].sum()
        exact = np.where(capped, available, left * share / share[~capped].sum())
        beyond = ~capped & (exact > available)
        if not beyond.any() or available.sum() < rays:
            return exact
        capped |= beyond


class PixelSampler:
    """Draws the pixels of each step and keeps the classes' mean losses."""

    def __init__(self, *, dynamic: bool, uniform_share: float = 0.0) -> None:
        """Start with all classes equal.

        Args:
            dynamic: Share rays out by class losses; otherwise uniformly over the person.
            uniform_share: With `dynamic`, part of the rays that is drawn uniformly all the same.
        """
        self.dynamic = dynamic
        self.uniform_share = uniform_share
        self.losses = np.ones(SEMANTIC_CLASSES)
        self.updates = np.zeros(SEMANTIC_CLASSES, dtype=np.int64)

    def draw(
        self,
        labels: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        *,
        rays: int,
        generator: np.random.Generator,
    ) -> Pixels:
        """Draw pixels of several frames, the same number of each, with replacement.

        Args:
            labels: Label maps. Shape (frames, height, width).
            mask: Soft person masks, 0 to 255. Shape (frames, height, width).
            rays: How many in all.
            generator: Source of randomness.

        Returns:
            The pixels. Fewer than `rays` only if a frame shows no person at all.

        Raises:
            ValueError: If a label is no class.
        """
        if labels.size and labels.max() >= SEMANTIC_CLASSES:
            raise ValueError(
                f"labels hold the value {labels.max()}; expected 0 to {SEMANTIC_CLASSES - 1}"
            )
        frames = len(labels)
        grouped = _classes_near_person(labels, mask)
        order = np.empty(grouped.shape[1], dtype=np.int32)
        starts = np.empty(SEMANTIC_CLASSES + 2, dtype=np.int64)
        slots, pixels = [], []
        for slot in range(frames):
            wanted = rays // frames + (slot < rays % frames)
            numba_kernels.group_pixels(grouped[slot], SEMANTIC_CLASSES + 1, order, starts)
            chosen = self._draw_frame(order, starts[:-1], wanted, generator)
            pixels.append(chosen)
            slots.append(np.full(len(chosen), slot, dtype=np.int64))
        return Pixels(np.concatenate(slots), np.concatenate(pixels))

    def _draw_frame(
        self,
        order: NDArray[np.int32],
        starts: NDArray[np.int64],
        rays: int,
        generator: np.random.Generator,
    ) -> NDArray[np.int64]:
        total = int(starts[-1])
        if total == 0:
            return np.empty(0, dtype=np.int64)
        uniform = round(rays * (self.uniform_share if self.dynamic else 1.0))
        places = [generator.integers(0, total, uniform)]
        counts = allocate_rays(self.losses, np.diff(starts), rays=rays - uniform)
        first = np.repeat(starts[:-1], counts)
        width = np.repeat(np.diff(starts), counts)
        places.append(first + (generator.random(len(first)) * width).astype(np.int64))
        return order[np.concatenate(places)].astype(np.int64)

    def update(self, labels: NDArray[np.uint8], losses: NDArray[np.float32]) -> None:
        """Learn from the losses of a step's rays.

        Args:
            labels: Class of each ray. Shape (rays,).
            losses: Photometric + semantic loss of each ray, >= 0. Shape (rays,).
        """
        count = np.bincount(labels, minlength=SEMANTIC_CLASSES)
        total = np.bincount(labels, weights=losses, minlength=SEMANTIC_CLASSES)
        seen = count > 0
        mean = total[seen] / count[seen]
        self.updates[seen] += 1
        # The first loss replaces the start value: one would stand for a class that is badly wrong.
        rate = np.maximum(1 - LOSS_MEMORY, 1 / self.updates[seen])
        self.losses[seen] += rate * (mean - self.losses[seen])


def _classes_near_person(labels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return labels with background far from the person turned into an extra, last class."""
    frames, height, width = mask.shape
    flat = np.ascontiguousarray(mask).reshape(frames, height * width)
    near = np.zeros_like(flat)
    numba_kernels.dilate(flat, width, PERSON_THRESHOLD, PERSON_MARGIN_PX, np.zeros_like(flat), near)
    classes = labels.reshape(frames, -1)
    ignored = (classes == SemanticClass.BACKGROUND) & (near == 0)
    return np.where(ignored, np.uint8(SEMANTIC_CLASSES), classes)
