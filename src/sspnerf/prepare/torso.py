"""The torso's own pose in each frame, by aligning its picture to a reference frame.

What MediaPipe says about the torso is too coarse for this; the cloth itself is not. The torso is
taken as the rigid, curved front of `torso_alignment`; its motion has three shifts, roll and yaw
(pitch cannot be told from a shift in real clips).

torso_pose is camera_to_world as the torso sees it: where the camera would stand if the torso were
held still. M_i takes camera space of the reference frame to camera space of frame i for what is
torso, so torso_pose_i = reference_pose @ M_i^-1.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from scipy.spatial.transform import Rotation

from sspnerf.data.semantics import SemanticClass
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.background import SAMPLE_FRAMES, spread_evenly
from sspnerf.prepare.face_regions import CHIN
from sspnerf.prepare.masks import fit
from sspnerf.prepare.poses import (
    Poses,
    interpolate_lost,
    invert_rigid,
    pieces_between,
    rigid,
    smooth_poses,
)
from sspnerf.prepare.torso_alignment import WORK_SIDE, TorsoSurface, look
from sspnerf.prepare.torso_following import Followed, TorsoFollower, draw_back

# A torso that covers less of the picture cannot be aligned.
LEAST_AREA = 0.01
# Frames of a piece that must align, as a share; else what was found is not the torso's motion.
LEAST_ALIGNED = 0.3
# The outline is looked at too: so far beyond the region where the reference shows background, px of
# 256. The plain put there differs by so many gray levels from the torso.
OUTLINE_PX, PLAIN_CONTRAST = 5, 80.0
# Its say against that of the cloth: where a round body turns, its outline is not the same cloth.
# The less cloth there is (shares of the picture), the more it must tell.
OUTLINE_SAY, ENOUGH_CLOTH = 0.25, 0.1
# Gentle and symmetric in time: removes the alignment's jitter, does not lag. Turn and depth are
# told less well than the place in the picture.
PLACE_KERNEL = np.array([1.0, 6.0, 1.0]) / 8
TURN_KERNEL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
# What an interpolated frame counts in smoothing, against 1.
INTERPOLATED_WEIGHT = 0.02
# Share of the head's motion that a torso follows which cannot be seen.
UNSEEN_FOLLOWS = 0.5
# How far the torso lies behind the chin, cm (a chest, not a measurement).
BEHIND_CHIN_CM = 4.0


class TorsoMotion(NamedTuple):
    """Motion of the torso in front of the camera, relative to the reference frame."""

    surface: TorsoSurface
    """The torso's front in the reference frame; it turns around its center."""
    reference: int
    """Index of the reference frame, in which the motion is none."""
    theta: NDArray[np.float64]
    """Rotation vector (pitch, yaw, roll), radians, and translation, cm. Shape (frames, 6)."""
    confidence: NDArray[np.float64]
    """Share of the torso's texture found again, less where halves of it disagree, in [0, 1]; 0
    where the alignment is not believed. Shape (frames,)."""
    correlation: NDArray[np.float64]
    """With the reference, in [0, 1], 0 where not believed. Shape (frames,)."""
    has_motion: NDArray[np.bool_]
    """False in pieces of the clip in which nothing is believed. Shape (frames,)."""


def align_torso(
    frames: NDArray[np.uint8],
    region: NDArray[np.bool_],
    reference: int,
    *,
    intrinsics: Intrinsics,
    depth: float,
    masks: NDArray[np.uint8] | None = None,
    cuts: tuple[int, ...] = (),
    on_frame: Callable[[], None] | None = None,
) -> TorsoMotion | None:
    """Align the torso of every frame to the reference frame.

    Starts at the reference and goes outwards, each frame from where its neighbour was found; other
    pieces of the clip start where a search finds the torso again.

    Args:
        frames: RGB, square, read one at a time. Shape (frames, side, side, 3).
        region: Where (nearly) all frames show torso. Shape (side, side).
        reference: Index of the reference frame.
        intrinsics: The camera, with square pixels.
        depth: Of the torso in front of the camera, cm.
        masks: How much of each pixel is person, of 255; with them the torso's outline helps where
            cloth has no texture, and what is behind does not disturb. Shape (frames, side, side).
        cuts: First frames after a cut, increasing.
        on_frame: Called after each frame.

    Returns:
        The motion, smoothed, gaps interpolated; None if the region is too small, or if in no piece
        enough frames align.
    """
    if region.mean() < LEAST_AREA:
        return None
    surface = TorsoSurface.from_region(region, intrinsics, depth=depth)
    behind, outlined = 128.0, np.where(region, np.uint8(255), np.uint8(0))
    if masks is not None:
        outlined = _with_outline(region, masks[reference])
        behind = _plain(frames[reference], region)

    def look_at(index: int) -> list[NDArray[np.float32]]:
        return look(frames[index], None if masks is None else masks[index], behind=behind)

    follower = TorsoFollower(look_at, outlined, surface, reference=reference, frames=len(frames))
    followed = follower.follow(cuts, on_frame or (lambda: None))
    theta, has_motion = _steady(followed, cuts)
    if not has_motion.any():
        return None
    confidence = np.where(has_motion, followed.confidence, 0.0)
    correlation = np.where(has_motion, followed.correlation, 0.0)
    return TorsoMotion(
        surface, reference, theta - theta[reference], confidence, correlation, has_motion
    )


def _with_outline(
    region: NDArray[np.bool_], reference_mask: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Let a region reach beyond the person's outline in the reference frame."""
    reach = max(1, round(OUTLINE_PX * region.shape[0] / WORK_SIDE))
    around = cv2.dilate(region.astype(np.uint8), np.ones((2 * reach + 1,) * 2, dtype=np.uint8))
    ring = (around > 0) & (reference_mask < 128)
    say = min(1.0, OUTLINE_SAY * max(1.0, ENOUGH_CLOTH / float(region.mean())))
    return np.where(region, 255, np.where(ring, round(255 * say), 0)).astype(np.uint8)


def _plain(picture: NDArray[np.uint8], region: NDArray[np.bool_]) -> float:
    """Choose a gray that the torso does not have."""
    torso = float(np.median(cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY)[region]))
    return torso + PLAIN_CONTRAST if torso < 128 else torso - PLAIN_CONTRAST


def _steady(
    followed: Followed, cuts: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fill gaps and smooth, piece by piece; and tell which frames belong to pieces that align."""
    theta = np.zeros_like(followed.theta)
    has_motion = np.zeros(len(theta), dtype=bool)
    edges = [0, *cuts, len(theta)]
    for begin, end in itertools.pairwise(edges):
        piece = slice(begin, end)
        believed = followed.confidence[piece] > 0
        if not believed.any() or believed.mean() < LEAST_ALIGNED:
            continue
        has_motion[piece] = True
        filled = interpolate_lost(followed.theta[piece], believed)
        weight = np.where(believed, followed.confidence[piece], INTERPOLATED_WEIGHT)
        for kernel, columns in ((TURN_KERNEL, [0, 1, 2, 5]), (PLACE_KERNEL, [3, 4])):
            theta[piece, columns] = _smooth(filled[:, columns], weight, kernel)
    return theta, has_motion


def _smooth(
    values: NDArray[np.float64], weight: NDArray[np.float64], kernel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average over neighbouring frames, the believed ones before all."""
    sums = convolve1d(values * weight[:, None], kernel, axis=0, mode="constant")
    return np.asarray(sums / convolve1d(weight, kernel, mode="constant")[:, None])


def torso_poses(motion: TorsoMotion, poses: Poses, *, cuts: tuple[int, ...] = ()) -> Poses:
    """Turn the torso's motion into poses of the camera around a torso that is held still.

    Args:
        motion: From `align_torso`.
        poses: The head's, camera_to_world. Shape (frames, 4, 4).
        cuts: First frames after a cut.

    Returns:
        Equal to the head's pose in the reference frame; where a whole piece has no motion, from
        `unseen_torso_poses`. Shape (frames, 4, 4).
    """
    turn = Rotation.from_rotvec(motion.theta[:, :3]).as_matrix()
    center = motion.surface.center
    moved = rigid(turn, center + motion.theta[:, 3:] - turn @ center)
    found = poses[motion.reference] @ invert_rigid(moved)
    if not motion.has_motion.all():
        guessed = unseen_torso_poses(poses, motion.reference, cuts=cuts)
        found[~motion.has_motion] = guessed[~motion.has_motion]
    return np.asarray(found)


def alignment_residual(
    frames: NDArray[np.uint8], region: NDArray[np.bool_], motion: TorsoMotion, *, every: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tell how much the torso differs from the reference frame, moved back and as it is.

    The mean absolute difference in gray over the region, without its own mean (the light), at 256
    px. Pixels that come from outside the picture do not count.

    Args:
        frames: RGB, square. Shape (frames, side, side, 3).
        region: Where to look. Shape (side, side).
        motion: From `align_torso`.
        every: Look at each n-th frame only.

    Returns:
        Aligned and unaligned, gray levels of 255. Shapes (ceil(frames / every),).
    """
    inside = fit(region.astype(np.uint8), WORK_SIDE) > 0
    still = np.zeros(6)

    def gray(index: int) -> NDArray[np.float32]:
        small = fit(np.asarray(frames[index]), WORK_SIDE)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)

    template = gray(motion.reference)
    ones = np.ones_like(template)

    def difference(picture: NDArray[np.float32], theta: NDArray[np.float64]) -> float:
        seen = inside & (draw_back(ones, motion.surface, theta) > 0.999)
        if not seen.any():
            return 0.0
        error = (draw_back(picture, motion.surface, theta) - template)[seen]
        return float(np.abs(error - error.mean()).mean())

    found = [
        (difference(picture, motion.theta[index]), difference(picture, still))
        for index in range(0, len(frames), every)
        for picture in [gray(index)]
    ]
    aligned, unaligned = np.array(found).T
    return aligned, unaligned


def unseen_torso_poses(poses: Poses, reference: int, *, cuts: tuple[int, ...] = ()) -> Poses:
    """Guess the poses of a torso that the picture does not show: it follows the head by half.

    Args:
        poses: The head's, camera_to_world. Shape (frames, 4, 4).
        reference: Index of the reference frame.
        cuts: First frames after a cut: nothing is averaged across them.

    Returns:
        Equal to the head's pose in the reference frame. Shape (frames, 4, 4).
    """
    steady = np.concatenate(
        [smooth_poses(poses[piece], np.ones(9) / 9) for piece in pieces_between(cuts, len(poses))]
    )
    anchor = Rotation.from_matrix(poses[reference, :3, :3])
    turn = Rotation.from_matrix(steady[:, :3, :3]) * anchor.inv()
    turn = turn[reference].inv() * turn
    rotation = Rotation.from_rotvec(UNSEEN_FOLLOWS * turn.as_rotvec()) * anchor
    way = steady[:, :3, 3] - steady[reference, :3, 3]
    return rigid(rotation.as_matrix(), poses[reference, :3, 3] + UNSEEN_FOLLOWS * way)


def reliable_region(
    torso_maps: Iterable[NDArray[np.bool_]], *, lowest_chin: float
) -> NDArray[np.bool_]:
    """Find where (nearly) all frames show torso.

    Args:
        torso_maps: Where single frames show it. Each of shape (height, width).
        lowest_chin: Nothing above this is believed, px from the top.

    Returns:
        Shape (height, width).
    """
    share = np.mean([torso.astype(np.float32) for torso in torso_maps], axis=0)
    region = np.asarray(share >= 0.9)
    region[: max(0, int(np.ceil(lowest_chin)))] = False
    return region


def find_region(
    labels: NDArray[np.uint8], landmarks: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Find where nearly all frames of a clip show torso, from some of them.

    Args:
        labels: `SemanticClass` values. Shape (frames, height, width).
        landmarks: px. Shape (frames, 478, 3).
        valid: Frames whose landmarks are no guess; at least one. Shape (frames,).

    Returns:
        Shape (height, width).
    """
    seen = np.flatnonzero(valid)
    chosen = seen[spread_evenly(len(seen), SAMPLE_FRAMES)]
    return reliable_region(
        (labels[index] == SemanticClass.TORSO for index in chosen),
        lowest_chin=float(np.percentile(landmarks[:, CHIN, 1], 98)),
    )


def torso_depth(rest: NDArray[np.floating], pose: NDArray[np.float64]) -> float:
    """Say how far the torso is before the camera in a frame, cm.

    Args:
        rest: The face at rest, world. Shape (468, 3).
        pose: The head's, camera_to_world. Shape (4, 4).
    """
    to_camera = invert_rigid(pose)
    chin = to_camera[:3, :3] @ rest[CHIN] + to_camera[:3, 3]
    return float(chin[2]) + BEHIND_CHIN_CM
