"""The torso's own poses in imported pictures, which the layout does not hold.

Uses of `prepare`: the alignment of the torso.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.exchange.conventions import Poses
from sspnerf.exchange.face import Face
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare import torso as motion_of


class Torso(NamedTuple):
    """The torso through the clip."""

    poses: Poses
    """Shape (frames, 4, 4)."""
    confidence: NDArray[np.float64]
    """[0, 1]; 0 where the pose is a guess. Shape (frames,)."""
    reference_frame: int


def find_torso(
    frames: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    face: Face,
    intrinsics: Intrinsics,
    *,
    tick: Callable[[], None],
) -> Torso:
    """Align the torso's picture to that of a frame in the middle.

    Args:
        frames: RGB, square. Shape (frames, side, side, 3).
        labels: `SemanticClass` values. Shape (frames, side, side).
        mask: 255 = certainly person. Shape (frames, side, side).
        face: In our world.
        intrinsics: Of the frames.
        tick: Called after each frame.

    Returns:
        All confidence 0 if it cannot be aligned: it follows the head by half then.
    """
    valid = np.flatnonzero(face.valid)
    reference = int(valid[np.abs(valid - len(frames) // 2).argmin()])
    motion = motion_of.align_torso(
        frames,
        motion_of.find_region(labels, face.landmarks, face.valid),
        reference,
        intrinsics=intrinsics,
        depth=motion_of.torso_depth(face.rest, face.poses[reference]),
        masks=mask,
        on_frame=tick,
    )
    if motion is None:
        guess = motion_of.unseen_torso_poses(face.poses, reference)
        return Torso(guess, np.zeros(len(frames)), reference)
    return Torso(motion_of.torso_poses(motion, face.poses), motion.confidence, reference)
