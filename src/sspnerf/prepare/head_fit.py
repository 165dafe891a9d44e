"""One rigid face for a whole clip, and its pose in every frame: found in turn, from a rough start.

Frames here are those worth fitting: each picture once, with or without a face.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.perception.landmarks import MESH_LANDMARKS
from sspnerf.prepare.pose_refinement import PoseRefinement, refine_poses
from sspnerf.prepare.poses import (
    Poses,
    complete_poses,
    invert_rigid,
    nearest_rotations,
    pieces_between,
    smooth_poses,
)
from sspnerf.prepare.rest_face import RIGID_LANDMARKS, find_rest

# Rounds of: triangulate the face at rest, then place the camera against it.
ROUNDS = 2
# A transform whose face is so far from the landmarks, as a share of its size, is not believed.
WORST_TRANSFORM = 0.15
# Frames from which the face is roughly known before any pose is refined.
ROUGH_FRAMES = 64
# Landmarks that fit the face at rest so many times worse than usual are of another face, unless
# they are as close as GOOD_FIT, a share of the face's size (5 px of 250).
WORST_FIT = 6.0
GOOD_FIT = 0.02
# How much the head's origin stays, against what frames say about it: as much as one does whose
# head is turned by 0.03.
ORIGIN_WEIGHT = 1e-3


class Take(NamedTuple):
    """What is fitted."""

    landmarks: NDArray[np.floating]
    """x, y, z in px of the clip's frames; may be a memory map. Shape (all frames, 478, 3)."""
    frames: NDArray[np.int64]
    """Which of them are fitted, in order. Shape (frames,)."""
    valid: NDArray[np.bool_]
    """Which of these show a face that can be believed; at least one does. Shape (frames,)."""
    intrinsics: Intrinsics
    """The camera."""
    frame_rate_hz: float
    """How fast the fitted frames follow each other."""
    cuts: tuple[int, ...]
    """First fitted frames after a cut."""
    face_px: float
    """How large the face usually is, px."""

    def rigid_px(self) -> NDArray[np.float32]:
        """Return where rigid landmarks appear; NaN where the face cannot be believed."""
        seen = np.full((len(self.frames), len(RIGID_LANDMARKS), 2), np.nan, np.float32)
        for index in np.flatnonzero(self.valid):
            seen[index] = self.landmarks[self.frames[index]][RIGID_LANDMARKS, :2]
        return seen


class HeadFit(NamedTuple):
    """The face at rest and its poses."""

    refined: PoseRefinement
    rest: NDArray[np.float64]
    """Shape (468, 3)."""
    valid: NDArray[np.bool_]
    """Frames whose landmarks fit. Shape (frames,)."""


def fit_head(take: Take, raw: Poses, *, rounds: int = ROUNDS) -> HeadFit:
    """Triangulate the face and refine its poses, in turn; each round starts from better ones.

    Args:
        take: What is fitted.
        raw: Poses to start from, every frame filled in. Shape (frames, 4, 4).
        rounds: How often.

    Returns:
        The face, its poses, and where the landmarks are believed to be its own.
    """
    seen = take.rigid_px()
    poses, valid = first_poses(take, raw, seen), take.valid
    start = poses
    for _ in range(rounds):
        rest = _find_rest(take, poses, valid)
        refined = refine_poses(
            poses, rest[RIGID_LANDMARKS], seen, take.intrinsics,
            frame_rate_hz=take.frame_rate_hz, cuts=take.cuts,
        )  # fmt: skip
        poses = refined.poses
        valid = _fitting(refined.frame_error_px, take)
        if not valid[np.isfinite(refined.frame_error_px)].all():
            seen[~valid] = np.nan
            poses = complete_poses(poses, valid, cuts=take.cuts)
    rest, poses = _anchor(_find_rest(take, poses, valid), poses, start, valid)
    return HeadFit(refined._replace(poses=poses), rest, valid)


def first_poses(take: Take, raw: Poses, seen_px: NDArray[np.floating]) -> Poses:
    """Smooth MediaPipe's poses a little, without those that contradict their own landmarks.

    Args:
        take: What is fitted.
        raw: Shape (frames, 4, 4).
        seen_px: Rigid landmarks. Shape (frames, points, 2).

    Returns:
        Shape (frames, 4, 4).
    """
    known = np.flatnonzero(take.valid)
    some = known[np.linspace(0, len(known) - 1, min(len(known), ROUGH_FRAMES)).astype(np.int64)]
    rough = np.median(_faces_in_world(take, some, raw[some]), axis=0)
    to_camera = invert_rigid(raw)
    in_camera = to_camera[:, :3, :3] @ rough.T + to_camera[:, :3, 3:]
    camera = take.intrinsics
    with np.errstate(divide="ignore", invalid="ignore"):
        place = in_camera[:, :2] / in_camera[:, 2:] * [[camera.fx], [camera.fy]]
    place = place.swapaxes(1, 2) + np.array([camera.cx, camera.cy])
    error = np.full(len(raw), np.inf)
    error[known] = np.median(np.linalg.norm(place[known] - seen_px[known], axis=2), axis=1)
    good = (error < WORST_TRANSFORM * take.face_px) & (in_camera[:, 2] > 0).all(axis=1)
    poses = complete_poses(raw, good if good.any() else take.valid, cuts=take.cuts)
    for piece in pieces_between(take.cuts, len(poses)):
        poses[piece] = smooth_poses(poses[piece])
    return poses


def _faces_in_world(take: Take, some: NDArray[np.int64], poses: Poses) -> NDArray[np.float64]:
    """Rigid landmarks of single frames, each by its own pose. Shape (some, points, 3)."""
    landmarks = take.landmarks[take.frames[some]][:, RIGID_LANDMARKS]
    return np.stack(
        [
            find_rest(landmarks[i : i + 1], poses[i : i + 1], take.intrinsics)
            for i in range(len(some))
        ]
    )


def _find_rest(take: Take, poses: Poses, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    return find_rest(_mesh(take), poses[valid], take.intrinsics, frames=take.frames[valid])


def _mesh(take: Take) -> NDArray[np.floating]:
    return take.landmarks[:, :MESH_LANDMARKS]


def _anchor(
    rest: NDArray[np.float64], poses: Poses, wanted: Poses, valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], Poses]:
    """Turn, move and scale the world so that the head lies in it as in the poses at the start.

    Pictures do not tell where the head's origin is, nor how large the head is; left alone, both
    drift while face and poses are fitted in turn.
    """
    found, start = invert_rigid(poses[valid]), invert_rigid(wanted[valid])
    turn = nearest_rotations(np.mean(start[:, :3, :3].swapaxes(1, 2) @ found[:, :3, :3], axis=0))
    # size * t + R origin = t at the start, in all frames; a head that does not turn does not tell
    # the origin's place, so it had better stay.
    rows = np.concatenate((found[:, :3, 3:], found[:, :3, :3]), axis=2).reshape(-1, 4)
    normal = rows.T @ rows + len(found) * ORIGIN_WEIGHT * np.diag([0.0, 1.0, 1.0, 1.0])
    size, *origin = np.linalg.solve(normal, rows.T @ start[:, :3, 3].ravel())
    anchored = poses.copy()
    anchored[:, :3, :3] = turn @ poses[:, :3, :3]
    anchored[:, :3, 3] = (size * poses[:, :3, 3] - origin) @ turn.T
    return (size * rest - origin) @ turn.T, anchored


def _fitting(frame_error_px: NDArray[np.float64], take: Take) -> NDArray[np.bool_]:
    """Frames whose landmarks fit the face at rest; at least one."""
    usual = float(np.nanmedian(frame_error_px))
    limit = max(WORST_FIT * usual, GOOD_FIT * take.face_px)
    return np.asarray(np.nan_to_num(frame_error_px, nan=np.inf) <= limit)
