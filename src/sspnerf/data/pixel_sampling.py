"""Which pixels to learn from: semantic-aware dynamic ray sampling, and what it is compared with.

The rays of a step are shared out among the semantic classes: in the first period equally, then in
proportion to each class's mean loss (photometric + semantic) over the period before. Inside a class
pixels are drawn uniformly.

Available are all pixels, or, as the plate says all of what is further away, those of the person
and background within a few px.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.ops.pixel_groups import PixelGroups, group_pixels

SamplingKind = Literal["dynamic", "uniform", "face-rectangle"]

# A pixel counts as near the person within this many px of a mask value above the threshold.
PERSON_THRESHOLD = 12
PERSON_MARGIN_PX = 4
# No class with pixels gets less than this share, so that its loss stays known.
FLOOR_SHARE = 0.02
# Rays inside the rectangle around the face. Source: AD-NeRF's released code.
FACE_SHARE = 0.95


class Pixels(NamedTuple):
    """Pixels of several frames."""

    slot: NDArray[np.int64]
    """Which of the frames each pixel is of. Shape (rays,)."""
    pixel: NDArray[np.int64]
    """Index into the flattened picture. Shape (rays,)."""


def allocate_rays(
    losses: NDArray[np.float64],
    available: NDArray[np.int64],
    *,
    rays: int,
    floor: float = FLOOR_SHARE,
) -> NDArray[np.int64]:
    r"""Share rays out among classes.

    .. math:: N_k = N_s \bar L_k / \sum_j \bar L_j

    Classes without pixels get none and hand their share on. Every class with pixels gets at least
    a small floor; the others pay for it in proportion. Then, if there are more pixels than rays, a
    class with fewer pixels than its share hands on the rest. Rounding goes to the largest
    remainders, so that the sum is exact.

    Args:
        losses: Mean loss of each class, >= 0; all equal at first. Shape (classes,).
        available: Pixels of each class to draw from. Shape (classes,).
        rays: Rays to share out.
        floor: Least share of a class that has pixels.

    Returns:
        Rays of each class, summing to `rays` (to 0 if no class has pixels). Shape (classes,).

    Example:
        >>> allocate_rays(np.array([3.0, 1.0, 5.0]), np.array([9, 9, 0]), rays=8)
        array([6, 2, 0])
        >>> allocate_rays(np.array([3.0, 1.0, 4.0]), np.array([99, 99, 2]), rays=10)
        array([6, 2, 2])

    Source: Liu et al. 2022 (arXiv:2201.07786), its pipeline figure; floor, cap and handing on
        are ours.
    """
    present = available > 0
    if not present.any():
        return np.zeros(len(losses), dtype=np.int64)
    share = np.where(present, losses, 0.0)
    share = share / share.sum() if share.sum() > 0 else present / present.sum()
    exact = _capped(_floored(share, present, floor), available, rays)
    count = np.floor(exact).astype(np.int64)
    largest = np.argsort(count - exact, kind="stable")[: rays - count.sum()]
    count[largest] += 1
    return np.asarray(count)


def _floored(
    share: NDArray[np.float64], present: NDArray[np.bool_], floor: float
) -> NDArray[np.float64]:
    """Raise the shares of classes that are there to the floor; the sum stays 1."""
    # Half of the rays go by losses, however many classes there are.
    floor = min(floor, 0.5 / present.sum())
    low = np.zeros(len(share), dtype=bool)
    while True:
        free = 1 - floor * low.sum()
        raised = np.where(low, floor, free * share / share[~low].sum())
        below = present & ~low & (raised < floor)
        if not below.any():
            return np.asarray(raised)
        low |= below


def _capped(
    share: NDArray[np.float64], available: NDArray[np.int64], rays: int
) -> NDArray[np.float64]:
    """Share rays out so that no class gets more than it has pixels, if that can be."""
    capped = np.zeros(len(share), dtype=bool)
    while True:
        left = rays - available[capped].sum()
        # Where no loss is left to share by, pixels are.
        by = share if share[~capped].sum() > 0 else available / available.sum()
        exact = np.where(capped, available, left * by / by[~capped].sum())
        beyond = ~capped & (exact > available)
        if not beyond.any() or available.sum() <= rays:
            return exact
        capped |= beyond


class PixelSampler:
    """Draws the pixels of each step and measures the classes' mean losses.

    * `losses` (classes,): mean loss of each class over the last period, as the next draw uses it
    * `last_rays` (classes,) int64: rays of each class in the last draw, uniform ones included
    """

    def __init__(
        self,
        *,
        kind: SamplingKind,
        unit: Literal["class", "pixel"] = "class",
        uniform_share: float = 0.0,
        period: int = 100,
        background: Literal["near", "all"] = "near",
    ) -> None:
        """Start with all classes equal.

        Args:
            kind: Share rays out by the classes' losses; or draw uniformly; or 95 % of them inside a
                rectangle around the face and 5 % outside, each uniformly (AD-NeRF).
            unit: With `dynamic`: a class's rays go as its loss, or as its loss times its pixels,
                so that the loss is the chance of each pixel.
            uniform_share: With `dynamic`: part of the rays that is drawn uniformly all the same.
            period: Steps over which losses are averaged, and for which the result holds, >= 1.
            background: Whether only background near the person is available, or all.

        Raises:
            ValueError: If the period is shorter than one step.
        """
        if period < 1:
            raise ValueError(f"period is {period}; expected at least 1")
        self.kind, self.unit, self.period, self.background = kind, unit, period, background
        self.uniform_share = {"dynamic": uniform_share, "uniform": 1.0, "face-rectangle": 0.0}[kind]
        self.losses = np.ones(SEMANTIC_CLASSES)
        self.last_rays = np.zeros(SEMANTIC_CLASSES, dtype=np.int64)
        self._seen = np.zeros(SEMANTIC_CLASSES, dtype=bool)
        self._begin_period()

    def _begin_period(self) -> None:
        self._steps = 0
        self._rays = np.zeros(SEMANTIC_CLASSES, dtype=np.int64)
        self._total = np.zeros(SEMANTIC_CLASSES)

    def draw(
        self,
        labels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        mask: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        *,
        rays: int,
        generator: np.random.Generator,
        rectangles: NDArray[np.int64] | None = None,
    ) -> Pixels:
        """Draw pixels of several frames, the same number of each, with replacement.

        Each frame is looked at once, where it lies; nothing of it is kept.

        Args:
            labels: Label map of each frame. Shape (height, width).
            mask: Soft person mask of each frame, 0 to 255. Shape (height, width).
            rays: How many in all.
            generator: Source of randomness.
            rectangles: x0, y0, x1, y1 around each face, px, end exclusive; only the kind
                `face-rectangle` needs them. Shape (frames, 4).

        Returns:
            The pixels. Fewer than `rays` only if a frame has no available pixel at all.

        Raises:
            ValueError: If a label is no class, or rectangles are needed and not given.
        """
        if rectangles is None and self.kind == "face-rectangle":
            raise ValueError("no rectangles are given; expected one for each frame")
        frames = len(labels)
        slots, pixels = [], []
        self.last_rays = np.zeros(SEMANTIC_CLASSES, dtype=np.int64)
        for slot in range(frames):
            rectangle = None if rectangles is None else rectangles[slot]
            groups = self._group(labels[slot], mask[slot], rectangle)
            wanted = rays // frames + (slot < rays % frames)
            chosen = self._draw_frame(groups, wanted, generator)
            classes = labels[slot].reshape(-1)[chosen]
            self.last_rays += np.bincount(classes, minlength=SEMANTIC_CLASSES)
            pixels.append(chosen)
            slots.append(np.full(len(chosen), slot, dtype=np.int64))
        return Pixels(np.concatenate(slots), np.concatenate(pixels))

    def _group(
        self,
        labels: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        rectangle: NDArray[np.int64] | None,
    ) -> PixelGroups:
        """Return the available pixels of a frame by group: classes, or inside and outside."""
        if labels.size and labels.max() >= SEMANTIC_CLASSES:
            raise ValueError(
                f"labels hold the value {labels.max()}; expected 0 to {SEMANTIC_CLASSES - 1}"
            )
        groups, count = labels, SEMANTIC_CLASSES
        if self.kind == "face-rectangle" and rectangle is not None:
            groups, count = _outside(rectangle, labels.shape), 2
        return group_pixels(
            groups,
            count=count,
            labels=labels,
            mask=mask if self.background == "near" else None,
            threshold=PERSON_THRESHOLD,
            radius=PERSON_MARGIN_PX,
        )

    def _draw_frame(
        self, groups: PixelGroups, rays: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        first, available = groups.starts[:-1], np.diff(groups.starts)
        total = int(groups.starts[-1])
        if total == 0:
            return np.empty(0, dtype=np.int64)
        uniform = round(rays * self.uniform_share)
        places = [generator.integers(0, total, uniform)]
        # A floor would break the pixel-level rule: pixels of equal loss are equally likely.
        floor = FLOOR_SHARE if self.unit == "class" else 0.0
        weights, left = self._weights(available), rays - uniform
        counts = allocate_rays(weights, available, rays=left, floor=floor)
        within = generator.random(counts.sum()) * np.repeat(available, counts)
        places.append(np.repeat(first, counts) + within.astype(np.int64))
        return groups.at(np.concatenate(places))

    def _weights(self, available: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what the groups' rays are in proportion to."""
        if self.kind == "face-rectangle":
            return np.array([FACE_SHARE, 1 - FACE_SHARE])
        return self.losses * available if self.unit == "pixel" else self.losses

    def update(self, labels: NDArray[np.uint8], losses: NDArray[np.float32]) -> None:
        """Learn from the losses of a step's rays; `losses` changes when a period is over.

        Each class's loss becomes the mean over its rays of the period. A class without rays keeps
        what it had; one that never had any counts as the mean of the others.

        Args:
            labels: Class of each ray. Shape (rays,).
            losses: Photometric + semantic loss of each ray, >= 0. Shape (rays,).
        """
        self._rays += np.bincount(labels, minlength=SEMANTIC_CLASSES)
        self._total += np.bincount(labels, weights=losses, minlength=SEMANTIC_CLASSES)
        self._steps += 1
        if self._steps < self.period:
            return
        measured = self._rays > 0
        self.losses[measured] = self._total[measured] / self._rays[measured]
        self._seen |= measured
        if self._seen.any():
            self.losses[~self._seen] = self.losses[self._seen].mean()
        self._begin_period()

    def state(self) -> dict[str, Any]:
        """Return all that was measured, as JSON can hold it."""
        return {
            "losses": self.losses.tolist(),
            "seen": self._seen.tolist(),
            "steps": self._steps,
            "rays": self._rays.tolist(),
            "total": self._total.tolist(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned.

        Raises:
            KeyError: If something is missing.
            ValueError: If it is of other classes.
        """
        if len(state["losses"]) != SEMANTIC_CLASSES:
            raise ValueError(
                f"the state is of {len(state['losses'])} classes; expected {SEMANTIC_CLASSES}"
            )
        self.losses = np.array(state["losses"], dtype=np.float64)
        self._seen = np.array(state["seen"], dtype=bool)
        self._steps = int(state["steps"])
        self._rays = np.array(state["rays"], dtype=np.int64)
        self._total = np.array(state["total"], dtype=np.float64)


def _outside(rectangle: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return 0 inside a rectangle and 1 outside.

    AD-NeRF compares x and y of its rectangle with rows and columns; that mistake is not copied.
    """
    outside = np.ones(shape, dtype=np.uint8)
    x0, y0, x1, y1 = rectangle
    outside[y0:y1, x0:x1] = 0
    return outside
