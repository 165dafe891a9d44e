"""Follow the torso from frame to frame, piece by piece, with a few templates of it.

The first template is the reference frame. Where it stops fitting (the torso has turned, the light
has changed, arms hang differently), a frame that still fits well is drawn back into the reference
frame's pixels and becomes another one. Motion is always told against the reference frame, and the
first template always has the first word, so errors do not add up along the clip.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sspnerf.prepare.torso_alignment import (
    WORK_SIDE,
    Alignment,
    Picture,
    Template,
    TorsoSurface,
)

# An alignment with less confidence is not believed; with more, no other template is asked.
LEAST_CONFIDENCE, GOOD_CONFIDENCE = 0.3, 0.7
# With less than this the place may be a wrong one that fits a little too: looked for around it, up
# to so many px of 128. On real clips a third of all frames were 2 to 6 px of 512 off without.
SURE_CONFIDENCE, NUDGE_PX = 0.9, 6
# A frame that becomes a template fits at least so well itself; so many frames from the last one.
TEMPLATE_CONFIDENCE, TEMPLATE_EVERY = 0.5, 12
MOST_TEMPLATES = 8
# Each template between a frame and the reference leaves so much of the confidence.
INHERITED = 0.95
# A believed frame moves at most so far from the last believed one, px of 256 per frame in between.
MOST_STEP_PX, MOST_STEP_FRAMES = 8.0, 5
# Where the torso is lost it is searched for: shifts up to this share of the picture, these scales.
SEARCH_SHARE, SEARCH_SIDE = 0.2, 64
SEARCH_SCALES = (1.0, 0.85, 1.18, 0.7, 1.4)
# Frames of a new piece from which to start.
SEARCH_FRAMES = 5

Look = Callable[[int], list[Picture]]


class Followed(NamedTuple):
    """What was found in each frame."""

    theta: NDArray[np.float64]
    """Rotation vector, radians, and translation, cm, from the reference. Shape (frames, 6)."""
    correlation: NDArray[np.float64]
    """Shape (frames,)."""
    confidence: NDArray[np.float64]
    """0 where not believed. Shape (frames,)."""


class TorsoFollower:
    """Aligns all frames, each from where its neighbour was found.

    Args:
        look_at: Gives the levels of a frame.
        region: How much each pixel of the reference frame says about the torso, of 255. Shape
            (side, side).
        surface: Where the torso is.
        reference: Index of the reference frame.
        frames: How many there are.
    """

    def __init__(
        self,
        look_at: Look,
        region: NDArray[np.uint8],
        surface: TorsoSurface,
        *,
        reference: int,
        frames: int,
    ) -> None:
        self._look = look_at
        self._region = region
        self._surface = surface
        self._reference = reference
        self._templates: list[tuple[Template, float, NDArray[np.float64]]] = []
        self._last_template_at = reference
        levels = look_at(reference)
        self._patch = levels[0]
        self._add_template(levels, np.zeros(6), 1.0)
        self._found = Followed(np.zeros((frames, 6)), np.zeros(frames), np.zeros(frames))

    def follow(self, cuts: tuple[int, ...], on_frame: Callable[[], None]) -> Followed:
        """Align all frames.

        Args:
            cuts: First frames after a cut, increasing.
            on_frame: Called once for each frame.
        """
        if self._templates[0][0].is_empty:
            return self._found
        frames = len(self._found.theta)
        edges = [0, *cuts, frames]
        for begin, end in itertools.pairwise(edges):
            start = self._start_of_piece(begin, end)
            if start is None:
                for _ in range(begin, end):
                    on_frame()
                continue
            index, theta = start
            self._follow(range(index, end), theta, on_frame)
            self._follow(range(index - 1, begin - 1, -1), theta, on_frame)
        return self._found

    def _start_of_piece(self, begin: int, end: int) -> tuple[int, NDArray[np.float64]] | None:
        """Choose the frame that fits best to start from; None if none does."""
        if begin <= self._reference < end:
            return self._reference, np.zeros(6)
        best, chosen = LEAST_CONFIDENCE, None
        spots = np.linspace(begin, end - 1, 2 * SEARCH_FRAMES + 1)[1::2]
        for index in np.unique(np.round(spots).astype(int)):
            levels = self._look(int(index))
            for scale in SEARCH_SCALES:
                found = self._templates[0][0].align(levels, self._search(levels, scale))
                if found.confidence > best:
                    best, chosen = found.confidence, (int(index), found.theta)
        return chosen

    def _follow(
        self, order: range, theta: NDArray[np.float64], on_frame: Callable[[], None]
    ) -> None:
        missed = 0
        for index in order:
            levels = self._look(index)
            found, inherited = self._best(levels, theta)
            missed += 1
            # Looked for at growing distances in time: a torso that is gone must not cost much.
            if found.confidence < LEAST_CONFIDENCE and missed & (missed - 1) == 0:
                again, again_inherited = self._best(levels, self._search(levels, 1.0))
                if again.confidence > found.confidence:
                    found, inherited = again, again_inherited
            confidence = found.confidence * inherited
            if confidence >= LEAST_CONFIDENCE and self._is_near(theta, found.theta, missed):
                theta, missed = found.theta, 0
                self._found.confidence[index] = confidence
                self._found.correlation[index] = found.correlation
                self._keep(index, levels, found, inherited)
            self._found.theta[index] = theta
            on_frame()

    def _best(self, levels: list[Picture], start: NDArray[np.float64]) -> tuple[Alignment, float]:
        """Ask the first template, and if it is not sure, the one seen from most nearly there."""
        first, inherited, _ = self._templates[0]
        best = align_surely(first, levels, start)
        if best.confidence < GOOD_CONFIDENCE and len(self._templates) > 1:
            others = self._templates[1:]
            away = [self._distance(theta, best.theta) for _, _, theta in others]
            template, share, _ = others[int(np.argmin(away))]
            other = align_surely(template, levels, start)
            if other.confidence * share > best.confidence:
                return other, share
        return best, inherited

    def _distance(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """How far two motions are apart at the torso's middle and, turned, at its sides, px."""
        per_cm = self._surface.intrinsics.scaled(WORK_SIDE, WORK_SIDE).fx / self._surface.center[2]
        return float(np.linalg.norm((one - other) * ([10.0] * 3 + [1.0] * 3)) * per_cm)

    def _is_near(
        self, before: NDArray[np.float64], after: NDArray[np.float64], frames: int
    ) -> bool:
        return self._distance(before, after) < MOST_STEP_PX * min(frames, MOST_STEP_FRAMES)

    def _keep(self, index: int, levels: list[Picture], found: Alignment, inherited: float) -> None:
        """Make a template of a frame that fits, where the first one begins not to."""
        if (
            TEMPLATE_CONFIDENCE <= found.confidence < GOOD_CONFIDENCE
            and len(self._templates) < MOST_TEMPLATES
            and abs(index - self._last_template_at) >= TEMPLATE_EVERY
        ):
            self._last_template_at = index
            self._add_template(levels, found.theta, inherited * INHERITED)

    def _add_template(
        self, levels: list[Picture], theta: NDArray[np.float64], share: float
    ) -> None:
        drawn = [draw_back(level, self._surface, theta) for level in levels]
        self._templates.append((Template(drawn, self._region, self._surface), share, theta))

    def _search(self, levels: list[Picture], scale: float) -> NDArray[np.float64]:
        """Guess the motion by sliding the reference over the whole picture, at one scale."""
        return search_shift(self._patch, levels[0], self._region, self._surface, scale=scale)


def align_surely(
    template: Template, levels: list[Picture], start: NDArray[np.float64]
) -> Alignment:
    """Align, and where the result is not sure, again from the best place around it.

    Args:
        template: What is looked for.
        levels: From `look`.
        start: Where to begin. Shape (6,).
    """
    found = template.align(levels, start)
    if found.confidence >= SURE_CONFIDENCE:
        return found
    around = nudge(template, levels[0], found.theta)
    if np.array_equal(around, found.theta):
        return found
    return max(found, template.align(levels, around), key=lambda each: each.confidence)


def nudge(template: Template, picture: Picture, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift a motion to where the template correlates best with a picture, nearby.

    Args:
        template: What is looked for.
        picture: The first level of `look`. Shape (side, side).
        theta: The motion around which to look. Shape (6,).

    Returns:
        theta, shifted by whole pixels of that level. Shape (6,).
    """
    side, surface = picture.shape[0], template.surface
    mask = cv2.resize(template.region, (side, side), interpolation=cv2.INTER_AREA) > 0
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return theta
    top, left = rows.min(), columns.min()
    box = slice(top, rows.max() + 1), slice(left, columns.max() + 1)
    wide = np.pad(draw_back(picture, surface, theta), NUDGE_PX)
    window = wide[top : box[0].stop + 2 * NUDGE_PX, left : box[1].stop + 2 * NUDGE_PX]
    match = cv2.matchTemplate(
        window, template.picture[box], cv2.TM_CCORR_NORMED, mask=mask[box].astype(np.float32)
    )
    match[~np.isfinite(match)] = -1
    row, column = np.unravel_index(int(match.argmax()), match.shape)
    view = surface.intrinsics.scaled(side, side)
    shift = np.array([column - NUDGE_PX, row - NUDGE_PX]) * surface.center[2]
    return np.asarray(theta + np.array([0, 0, 0, *(shift / (view.fx, view.fy)), 0]))


def draw_back(picture: Picture, surface: TorsoSurface, theta: NDArray[np.float64]) -> Picture:
    """Draw a frame as it would look with the torso moved back to the reference.

    Args:
        picture: Shape (side, side).
        surface: Where the torso is.
        theta: The frame's motion. Shape (6,).
    """
    if not theta.any():
        return picture
    side = picture.shape[0]
    view = surface._replace(intrinsics=surface.intrinsics.scaled(side, side))
    rows, columns = np.mgrid[:side, :side]
    pixels = np.stack((columns.ravel(), rows.ravel()), 1) + 0.5
    places = view.move(view.lift(pixels), theta).reshape(side, side, 2) - 0.5
    return np.asarray(cv2.remap(picture, places.astype(np.float32), None, cv2.INTER_LINEAR))  # type: ignore[call-overload]


def search_shift(
    template: Picture,
    picture: Picture,
    region: NDArray[np.uint8],
    surface: TorsoSurface,
    *,
    scale: float,
) -> NDArray[np.float64]:
    """Find the shift at which the template correlates best with a picture.

    Args:
        template: The reference, without broad shading. Shape (side, side).
        picture: The frame. Shape (side, side).
        region: Where the template shows torso. Any square shape.
        surface: Where the torso is.
        scale: How much larger the torso is than in the reference.

    Returns:
        theta without a turn. Shape (6,).
    """
    side = SEARCH_SIDE
    small = [
        cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in (template, picture)
    ]
    mask = (cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA) > 0).astype(np.float32)
    rows, columns = np.nonzero(mask)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    size = [max(2, round((edge.stop - edge.start) * scale)) for edge in (box[1], box[0])]
    patch, weight = (
        cv2.resize(each[box], size, interpolation=cv2.INTER_LINEAR) for each in (small[0], mask)
    )
    margin = max(2, round(SEARCH_SHARE * side), max(size) - side + 2)
    wide = np.pad(small[1], margin)
    match = cv2.matchTemplate(wide, patch, cv2.TM_CCORR_NORMED, mask=weight)
    match[~np.isfinite(match)] = -1
    row, column = np.unravel_index(int(match.argmax()), match.shape)
    # Middle of the patch now and in the reference, px of the small picture.
    now = np.array([column + size[0] / 2, row + size[1] / 2]) - margin
    before = np.array([box[1].start + box[1].stop, box[0].start + box[0].stop]) / 2
    view = surface.intrinsics.scaled(side, side)
    principal = np.array([view.cx, view.cy])
    depth = surface.center[2] / scale
    focal = np.array([view.fx, view.fy])
    shift = ((now - principal) * depth - (before - principal) * surface.center[2]) / focal
    return np.array([0, 0, 0, *shift, depth - surface.center[2]])
