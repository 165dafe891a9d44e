"""Where a film was cut: frames across which nothing moves on.

Four signs; the first three of small gray pictures without their mean and spread, so that light
counts little:

    gap       how far a cell of the picture is from going on as before and after; it is compared
              with the gaps of its own neighbours in time, and the mean of the logarithms over all
              cells is the `score`. Motion changes a part of the picture for some time, noise and
              coding all of it at any time; a cut changes all that ever moves, once.
    return    whether what changed is soon as it was: a flash, a hand before the lens.
    distance  between pictures across the border, the least of nine pairs: a picture of something
              else needs no other sign.
    jump      the gap of the face's landmarks: a second witness where pictures alone are not sure.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sspnerf.prepare.face_regions import CHIN, FOREHEAD

# Cells along each side of the small picture.
CELLS = 32
# Pictures are thinned out to about so many pixels a side before they are averaged.
THINNED_SIDE = 128
# Gaps are compared with those of so many frames before and after.
NEIGHBOURS = 8
# So many there must be on either side: next to an end, what is usual is not known.
LEAST_NEIGHBOURS = 4
# Spread of a picture below which it is dark or empty, in levels of 255.
LEAST_SPREAD = 8.0
# A gap below which nothing moved, in spreads of the picture: above coding's.
STILL = 0.2
# No cell counts for more: a cut is told by how much of the picture takes part in it.
MOST_OF_A_CELL = 1.0
# Talking, nodding, gesturing people stay below .10 (five clips, 112 s).
CUT_SCORE = 0.15
# Suspicious enough to ask the landmarks; see `jumps`.
LIKELY_SCORE = 0.05
# Score and ratio of the landmarks' gap, either of which would do alone there; half of each is
# enough. The same clips reach .90 of what is asked.
JUMP_SCORE, JUMP_RATIO = 0.23, 9.0
# A cut between different pictures: 1.0 and more; the fastest gesture of the five clips: .39.
OTHER_PICTURE = 0.7
# What changed is back if, within so many frames, so many of the cells that changed by more than
# CHANGED spreads are back by all but so much of their change.
RETURN_FRAMES = 60
RETURNED_CELLS = 0.9
CHANGED, BACK = 0.25, 0.3
# Landmarks jitter by so much, share of the face's height.
LANDMARK_NOISE = 0.003

Small = NDArray[np.float32]


class CutFinder:
    """Finds cuts while frames stream by; it keeps some small pictures and two numbers a frame.

    Hard cuts only: dissolves and fades through black are none. A piece of fewer than
    `NEIGHBOURS` frames may be missed where the pictures on both sides are much alike.
    """

    def __init__(self) -> None:
        self._small: deque[Small] = deque(maxlen=2 * RETURN_FRAMES + 8)
        self._gaps: deque[Small] = deque(maxlen=2 * NEIGHBOURS + 1)
        self._scores: list[float] = []
        self._settled = 0
        self._distances: list[float] = []
        self._pushed = 0

    def push(self, picture: NDArray[np.uint8]) -> None:
        """Take the next frame; RGB, any size. Shape (height, width, 3)."""
        self._small.append(shrink(picture))
        self._pushed += 1
        if self._pushed >= 3:
            self._distances.append(self._border_distance(self._pushed - 3))
        if self._pushed >= 4:
            self._gaps.append(_gap([self._small[place] for place in (-4, -3, -2, -1)]))
            if len(self._scores) < self._pushed - 3 - NEIGHBOURS:
                self._scores.append(_score(self._gaps, len(self._gaps) - 1 - NEIGHBOURS))
        # The oldest frame whose score may still be taken back; score i is of frame i + 2.
        if self._pushed - 1 - RETURN_FRAMES >= 2 + self._settled:
            if self._returns(2 + self._settled, self._scores[self._settled]):
                self._scores[self._settled] = 0.0
            self._settled += 1

    def cuts(self) -> tuple[int, ...]:
        """Return the first frames after a cut, growing; frames may be pushed on afterwards."""
        scores = self.scores()
        distances = np.array(self._distances)
        last = range(max(0, self._pushed - 2), self._pushed)
        distances = np.append(distances, [self._border_distance(frame) for frame in last])
        beside = np.maximum(_shifted(distances, 1), _shifted(distances, -1))
        other = (distances >= OTHER_PICTURE) & (distances >= 2 * beside)
        return _strongest(other | (scores >= CUT_SCORE), scores + distances)

    def scores(self) -> NDArray[np.float64]:
        """Say how much each frame looks like the first one after a cut.

        Returns:
            Mean logarithm of the gap against its neighbours', at most `MOST_OF_A_CELL`; about 0 or
            less for a frame like its neighbours; 0 where what changed is soon as it was, and for
            the first two frames and the last. Shape (frames,).
        """
        known = list(self._scores)
        # The last frames have not been compared yet: neighbours after them are missing.
        waiting = max(0, self._pushed - 3) - len(known)
        known += [
            _score(self._gaps, place) for place in range(len(self._gaps) - waiting, len(self._gaps))
        ]
        scores = np.zeros(self._pushed)
        scores[2 : 2 + len(known)] = known
        for frame in range(2 + self._settled, 2 + len(known)):
            if self._returns(frame, scores[frame]):
                scores[frame] = 0.0
        return scores

    def _returns(self, frame: int, score: float) -> bool:
        """Say whether what changed at a suspicious frame is soon, or was just before, as it was."""
        if score < LIKELY_SCORE:
            return False
        at = frame - (self._pushed - len(self._small))
        small = np.array(self._small)[max(0, at - RETURN_FRAMES) : at + RETURN_FRAMES + 1]
        at = min(at, RETURN_FRAMES)
        change = np.abs(small[at] - small[at - 1])
        changed = change > CHANGED
        if not changed.any():
            return False
        back = BACK * change[changed]
        later = np.abs(small[at + 1 :, changed] - small[at - 1, changed]) < back
        before = np.abs(small[: at - 1, changed] - small[at, changed]) < back
        shares = np.concatenate((later.mean(axis=1), before.mean(axis=1)))
        return bool(len(shares) and shares.max() >= RETURNED_CELLS)

    def _border_distance(self, frame: int) -> float:
        """Compare up to three pictures on either side of a frame's start; the least distance."""
        at = frame - (self._pushed - len(self._small))
        near = [
            self._small[place] for place in range(max(0, at - 3), min(at + 3, len(self._small)))
        ]
        behind = len(near) - (min(at + 3, len(self._small)) - at)
        pairs = [(a, b) for a in near[:behind] for b in near[behind:]]
        return min((_distance(a, b) for a, b in pairs), default=0.0)


def jumps(
    landmarks: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    valid: NDArray[np.bool_] | None = None,
) -> tuple[int, ...]:
    """Find cuts inside one framing: head and picture jump together.

    A weak sign of the picture and a strong one of the landmarks, or both middling, make a cut; to
    be added to those of `CutFinder.cuts`.

    Args:
        landmarks: x, y in px first; any further column is ignored. Shape (frames, 478, 2 or more).
        scores: `CutFinder.scores` of the same frames. Shape (frames,).
        valid: Frames with a face. None: where landmarks are finite. Shape (frames,).

    Returns:
        First frames after a cut, growing.
    """
    points = np.asarray(landmarks, dtype=np.float64)[:, :, :2]
    seen = np.asarray(np.isfinite(points).all(axis=(1, 2)))
    if valid is not None:
        seen = np.asarray(np.logical_and(seen, valid))
    if not seen.any():
        return ()
    gaps = _face_gaps(points, seen)
    suspicion = np.asarray(scores, dtype=np.float64)
    strength = np.zeros(len(points))
    for frame in np.flatnonzero(suspicion >= LIKELY_SCORE).tolist():
        around = np.sort(_neighbours(gaps, frame))
        if len(around) >= 4 and gaps[frame] >= gaps[max(0, frame - 1) : frame + 2].max():
            ratio = gaps[frame] / (around[-3] + LANDMARK_NOISE)
            strength[frame] = suspicion[frame] / JUMP_SCORE + ratio / JUMP_RATIO
    return _strongest(strength >= 1.0, strength)


def _face_gaps(points: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the RMS gap of the landmarks, share of the face's height; 0 where not known."""
    height = float(np.median(np.linalg.norm(points[seen, FOREHEAD] - points[seen, CHIN], axis=-1)))
    flat = np.where(seen[:, None, None], points, np.nan).reshape(len(points), -1)
    gaps = np.zeros(len(points))
    for frame in range(2, len(points) - 1):
        gaps[frame] = np.sqrt(np.square(_gap(flat[frame - 2 : frame + 2])).mean())
    # Next to a frame without a face nothing is known.
    return np.asarray(np.nan_to_num(gaps) / max(height, 1e-6))


def shrink(picture: NDArray[np.uint8]) -> Small:
    """Make the small picture whose mean is 0 and whose spread is 1, whatever the light.

    Args:
        picture: RGB. Shape (height, width, 3).

    Returns:
        Spreads above the mean, all cells in one row. Shape (CELLS * CELLS,).
    """
    height, width = picture.shape[:2]
    step = max(1, min(height, width) // THINNED_SIDE)
    thin = cv2.resize(picture, (width // step, height // step), interpolation=cv2.INTER_NEAREST)
    gray = cv2.cvtColor(thin, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    cells = small.astype(np.float32).reshape(-1)
    cells -= cells.mean()
    return np.asarray(cells / max(float(cells.std()), LEAST_SPREAD), dtype=np.float32)


def _gap(four: Sequence[NDArray[Any]] | NDArray[Any]) -> NDArray[Any]:
    """Say how far the third of four frames is from going on as the frames around it move."""
    before, last, first, after = four
    return np.asarray(np.abs((first - last) - ((last - before) + (after - first)) / 2))


def _neighbours(gaps: Sequence[Small] | NDArray[Any], place: int) -> NDArray[Any]:
    """Return the gaps around one; a cut there leaks into those right beside it, which are out."""
    before = range(max(0, place - NEIGHBOURS), max(0, place - 1))
    after = range(place + 2, min(place + NEIGHBOURS + 1, len(gaps)))
    return np.array([gaps[near] for near in (*before, *after)])


def _score(gaps: Sequence[Small], place: int) -> float:
    """Return the mean logarithm of a gap against its neighbours', none above the limit."""
    if place < LEAST_NEIGHBOURS + 1 or len(gaps) - place < LEAST_NEIGHBOURS + 2:
        return 0.0
    # A cut leaks into the gaps beside its own.
    if gaps[place].mean() < max(gaps[place - 1].mean(), gaps[place + 1].mean()):
        return 0.0
    around = _neighbours(gaps, place)
    # The second largest: one frame that stutters does not hide a cut.
    usual = np.partition(around, len(around) - 2, axis=0)[-2]
    ratio = np.log((gaps[place] + STILL) / (usual + STILL))
    return float(np.minimum(ratio, MOST_OF_A_CELL).mean())


def _distance(first: Small, second: Small) -> float:
    apart = first - second
    return float(np.sqrt(np.dot(apart, apart) / len(apart)))


def _shifted(values: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """Let each frame have the value of the frame `by` before it; 0 where there is none."""
    moved = np.zeros_like(values)
    if by > 0:
        moved[by:] = values[:-by]
    else:
        moved[:by] = values[-by:]
    return moved


def _strongest(found: NDArray[np.bool_], strength: NDArray[np.float64]) -> tuple[int, ...]:
    """Keep the strongest of frames that stand side by side: a cut is one frame wide."""
    kept: list[int] = []
    for frame in np.flatnonzero(found):
        if kept and frame - kept[-1] == 1:
            if strength[frame] > strength[kept[-1]]:
                kept[-1] = int(frame)
        else:
            kept.append(int(frame))
    return tuple(kept)
