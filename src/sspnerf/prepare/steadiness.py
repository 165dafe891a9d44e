"""How much poses shake, and whether they lag: the figures that the report gives.

Motion is judged in camera axes: the turn of the head, and the place of a point in it. A second
difference times the squared frame rate is an acceleration, and so has the same size at any rate.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sspnerf.prepare.poses import Poses, invert_rigid, pieces_between

# Heads that speak hardly move faster than this; what does is mostly noise.
SHAKE_ABOVE_HZ = 6.0
# Lags are sought up to so many frames.
FARTHEST_LAG = 10
# Frames for which one picture stands in video of a lower rate: 12 Hz at 60.
LONGEST_REPETITION = 5


ORIGIN = np.zeros(3)


class Jitter(NamedTuple):
    """Accelerations of a head through a clip."""

    rotation: float
    """Root mean square of the turn's second difference, radians/s^2."""
    sideways: float
    """Root mean square of the second difference of its x and y, cm/s^2."""
    depth: float
    """The same of its distance along the optical axis, cm/s^2."""
    rotation_shake: float
    """What of `rotation` lies above 6 Hz: a head that speaks hardly moves so fast."""
    sideways_shake: float
    """What of `sideways` lies above 6 Hz."""
    depth_shake: float
    """What of `depth` lies above 6 Hz."""


def jitter(
    poses: Poses,
    frame_rate_hz: float,
    *,
    cuts: tuple[int, ...] = (),
    repeated: NDArray[np.bool_] | None = None,
    center: NDArray[np.float64] = ORIGIN,
) -> Jitter:
    """Measure how much poses accelerate; real motion counts as well as noise.

    Args:
        poses: camera_to_world, every frame filled in. Shape (frames, 4, 4).
        frame_rate_hz: How fast frames follow each other.
        cuts: First frames after a cut: no difference reaches across them.
        repeated: Frames that show the same picture as the one before; they are left out, since
            any pose that is right halts there. None if there are none. Shape (frames,).
        center: The point of the head whose place is followed, world, cm; the mean of the face at
            rest is seen best. Shape (3,).

    Returns:
        All 0 if no three frames follow each other.
    """
    fresh, rate, cuts = without_repeated(len(poses), frame_rate_hz, cuts, repeated)
    kept = poses[fresh]
    square, shake, count = np.zeros(3), np.zeros(3), 0
    for piece in pieces_between(cuts, len(kept)):
        bend = np.diff(_velocity(kept[piece], center), axis=0) * rate**2
        if len(bend):
            count += len(bend)
            square += _by_kind((bend**2).sum(axis=0))
            shake += _by_kind(_fast_part(bend, rate) * len(bend))
    root = np.sqrt(np.concatenate((square, shake)) / max(count, 1))
    return Jitter(*(float(value) for value in root))


def lag(raw: Poses, refined: Poses, *, cuts: tuple[int, ...] = ()) -> float:
    """Tell by how many frames one motion is behind another, from where they correlate best.

    Args:
        raw: camera_to_world, every frame filled in. Shape (frames, 4, 4).
        refined: The same, later treated. Shape (frames, 4, 4).
        cuts: First frames after a cut.

    Returns:
        Frames, to a fraction; positive if `refined` is late, 0 if nothing moves.
    """
    pieces = pieces_between(cuts, len(raw))
    # All lags are judged by the same frames of `raw`, so shorter pieces allow shorter lags.
    longest = max(piece.stop - piece.start for piece in pieces)
    reach = max(0, min(FARTHEST_LAG, (longest - 2) // 3))
    product, energy = np.zeros(2 * reach + 1), np.zeros(2 * reach + 1)
    for piece in pieces:
        first, second = _velocity(raw[piece]), _velocity(refined[piece])
        # Turn and place count alike.
        size = np.repeat(np.sqrt(_by_kind((first**2).sum(axis=0))) + 1e-12, (3, 2, 1))
        first, second = first / size, second / size
        middle = first[reach : len(first) - reach]
        for index in range(2 * reach + 1 if len(middle) else 0):
            moved = second[index : index + len(middle)]
            product[index] += (middle * moved).sum()
            energy[index] += (moved**2).sum()
    score = product / np.sqrt(np.maximum(energy, 1e-12))
    return _peak(score) - reach if reach > 0 and score.max() > 0 else 0.0


def _peak(score: NDArray[np.float64]) -> float:
    """Where a curve is highest, to a fraction of a step."""
    best = int(score.argmax())
    if not 0 < best < len(score) - 1:
        return float(best)
    low, top, high = score[best - 1 : best + 2]
    return float(best + 0.5 * (low - high) / (low - 2 * top + high))


def without_repeated(
    frames: int,
    frame_rate_hz: float,
    cuts: tuple[int, ...],
    repeated: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int64], float, tuple[int, ...]]:
    """Leave out frames that show the same picture as the one before.

    Video that was shot at 25 Hz and stored at 30 Hz shows each fifth picture twice: without the
    repetitions its motion is even again, at 25 Hz.

    Args:
        frames: Length of the clip.
        frame_rate_hz: Its rate.
        cuts: First frames after a cut.
        repeated: Shape (frames,), or None.

    Returns:
        Frames that stay; their rate, Hz; first frames after a cut among them.
    """
    if repeated is None or not repeated.any():
        return np.arange(frames), frame_rate_hz, cuts
    stays = ~repeated
    stays[[0, *[cut for cut in cuts if cut < frames]]] = True
    fresh = np.flatnonzero(stays)
    # A picture that stands for long says nothing about the rate at which the others were taken.
    gaps = np.diff(fresh)
    gaps = gaps[gaps <= LONGEST_REPETITION]
    rate = frame_rate_hz / float(gaps.mean()) if len(gaps) else frame_rate_hz
    return fresh, rate, tuple(int(at) for at in np.searchsorted(fresh, cuts))


def _velocity(poses: Poses, center: NDArray[np.float64] = ORIGIN) -> NDArray[np.float64]:
    """Turn (3) and way of a point of the head (3) from frame to frame, in camera axes."""
    to_camera = invert_rigid(poses)
    if len(poses) < 2:
        return np.zeros((0, 6))
    rotation = Rotation.from_matrix(to_camera[:, :3, :3])
    turn = (rotation[1:] * rotation[:-1].inv()).as_rotvec()
    place = to_camera[:, :3, :3] @ center + to_camera[:, :3, 3]
    return np.concatenate((turn, np.diff(place, axis=0)), axis=1)


def _by_kind(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the axes of rotation, sideways and depth. Shape (6,) -> (3,)."""
    return np.array([values[:3].sum(), values[3:5].sum(), values[5]])


def _fast_part(bend: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Mean square of what is faster than SHAKE_ABOVE_HZ. Shape (6,)."""
    window = np.hanning(len(bend) + 2)[1:-1]
    power = np.abs(np.fft.rfft(bend * window[:, None], axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(bend), 1 / rate_hz)
    # Both halves of the spectrum, Parseval, and what the window took away.
    twice = np.where((frequency > 0) & (frequency < rate_hz / 2 - 1e-9), 2.0, 1.0)
    part = (power * twice[:, None])[frequency >= SHAKE_ABOVE_HZ].sum(axis=0)
    return np.asarray(part / len(bend) / (window**2).sum())
