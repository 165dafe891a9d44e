"""Which frames can be believed: faces that were lost, that jump, and pictures shown twice."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from sspnerf.prepare.observations import Observations
from sspnerf.prepare.poses import pieces_between

# A face is where the faces around it are, up to this share of its size; heads that nod as hard as
# they can stay below half of it. What is further away is another face, or none.
FARTHEST_JUMP = 0.5
# Logarithm of how much larger or smaller than those around it a face may be.
LARGEST_GROWTH = 0.35
# Faces around: within this time before and after, s.
AROUND_S = 0.25
# A picture that is shown again moves its landmarks by less than this share of the face (root mean
# square; 0.12 px of 250). Between pictures of a face that keeps still it is twice as much.
REPEATED_MOTION = 0.0005
# Frames that are held in float64 at once.
BLOCK = 256


class FaceBoxes:
    """Place and size of the face in each frame, px; NaN where it was lost."""

    def __init__(self, landmarks: NDArray[np.floating]) -> None:
        """Look at all landmarks once, block by block. Shape (frames, points, 2 or more)."""
        frames = len(landmarks)
        self.center = np.full((frames, 2), np.nan)
        self.size = np.full(frames, np.nan)
        self.moved = np.full(frames, np.inf)
        """Root mean square way of the landmarks since the frame before, as a share of the size."""
        before = np.full(landmarks.shape[1:], np.nan)[None, :, :2]
        for first in range(0, frames, BLOCK):
            whole = np.asarray(landmarks[first : first + BLOCK], np.float64)
            seen = np.asarray(np.isfinite(whole).all(axis=(1, 2)))
            place = whole[..., :2]
            block = slice(first, first + len(place))
            self.center[block] = np.where(seen[:, None], place.mean(axis=1), np.nan)
            size = np.ptp(place, axis=1).max(axis=1)
            self.size[block] = np.where(seen & (size > 0), size, np.nan)
            way = np.diff(np.concatenate((before, place)), axis=0)
            moved = np.sqrt((way**2).sum(axis=2).mean(axis=1)) / self.size[block]
            self.moved[block] = np.where(np.isfinite(moved), moved, np.inf)
            before = place[-1:]


def believable(
    observed: Observations,
    boxes: FaceBoxes,
    frame_rate_hz: float,
    *,
    cuts: tuple[int, ...] = (),
) -> NDArray[np.bool_]:
    """Find the frames whose face was seen whole and where the faces around it are.

    Args:
        observed: What was seen.
        boxes: Of its landmarks.
        frame_rate_hz: How fast frames follow each other.
        cuts: First frames after a cut; a face may jump there.

    Returns:
        Shape (frames,). If nothing could be believed, all that was seen.
    """
    seen = observed.valid & np.isfinite(boxes.size)
    good = seen.copy()
    around = 2 * max(1, round(AROUND_S * frame_rate_hz)) + 1
    for piece in pieces_between(cuts, len(seen)):
        frames = piece.start + np.flatnonzero(seen[piece])
        if len(frames) < 3:
            continue
        place = np.column_stack((boxes.center[frames], np.log(boxes.size[frames])))
        # Reflected at the ends, where the first frame itself must not outvote its neighbours.
        window = min(around, 2 * len(frames) - 1)
        usual = median_filter(place, size=(window, 1), mode="mirror")
        jump = np.linalg.norm((place - usual)[:, :2], axis=1) / np.exp(usual[:, 2])
        growth = np.abs(place - usual)[:, 2]
        good[frames] = (jump < FARTHEST_JUMP) & (growth < LARGEST_GROWTH)
    return np.asarray(good if good.any() else seen)


def find_repeated(
    boxes: FaceBoxes, valid: NDArray[np.bool_], *, cuts: tuple[int, ...] = ()
) -> NDArray[np.bool_]:
    """Find the frames that show the same picture as the one before.

    Args:
        boxes: Of the landmarks. They must not be smoothed in time.
        valid: Frames with a face. Shape (frames,).
        cuts: First frames after a cut, which are never repetitions.

    Returns:
        Never the first frame. Shape (frames,).
    """
    repeated = np.zeros(len(valid), np.bool_)
    starts = {0, *cuts}
    drift = 0.0
    # A face that moves very slowly must not be taken to stand still: drift adds up.
    for frame in np.flatnonzero(boxes.moved < REPEATED_MOTION):
        if not repeated[frame - 1]:
            drift = 0.0
        drift += boxes.moved[frame]
        both = frame > 0 and valid[frame] and valid[frame - 1]
        repeated[frame] = both and drift < REPEATED_MOTION and frame not in starts
    return repeated
