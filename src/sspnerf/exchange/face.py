"""The face in the layout's pictures, and where its world lies in ours.

MediaPipe looks at every picture. What it sees, triangulated with the layout's own cameras, is the
face in their world; tracked as `prepare` does, it is the face in head space, cm. The similarity
that takes one to the other takes the layout's cameras to ours. So the cameras keep what the layout
says, up to that one similarity.

Uses of `prepare`: the tracking of the face, its triangulation.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError
from sspnerf.exchange.conventions import (
    SAME_WORLD,
    Poses,
    Similarity,
    fill_poses,
    fit_similarity,
    poses_from_layout,
)
from sspnerf.exchange.layout_folder import LayoutFolder
from sspnerf.exchange.resample import resample_picture
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.perception.landmarks import MESH_LANDMARKS, FaceLandmarker
from sspnerf.perception.models import model_path
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.poses import invert_rigid
from sspnerf.prepare.rest_face import RIGID_LANDMARKS, guess_rest, triangulate_rest
from sspnerf.prepare.tracking import track_face

# The depths of single pictures, which help where the head hardly turns, are told from the world's
# origin; it moves to its place within so many rounds.
ROUNDS = 3
# MediaPipe enlarges small pictures itself, and is off by 0.4 px of 128 then.
LEAST_SIDE = 512


class Face(NamedTuple):
    """The face through the clip, in our world."""

    poses: Poses
    """camera_to_world. Shape (frames, 4, 4)."""
    landmarks: NDArray[np.float32]
    """Lost frames filled in, px. Shape (frames, 478, 3)."""
    blendshapes: NDArray[np.float32]
    """Lost frames filled in. Shape (frames, 52)."""
    valid: NDArray[np.bool_]
    """Whether the face was found and the layout has a camera. Shape (frames,)."""
    seen: NDArray[np.bool_]
    """Whether the face was found. Shape (frames,)."""
    rest: NDArray[np.float64]
    """The face at rest, cm. Shape (468, 3)."""
    world: Similarity
    """From their world (metres as cm) to ours."""
    reprojection_px: float
    """Root mean square distance of rigid landmarks from where their vertices appear, px."""


def observe(
    layout: LayoutFolder,
    frames: NDArray[np.uint8],
    *,
    frame_rate_hz: float,
    tick: Callable[[], None],
) -> Observations:
    """Look for the face in all pictures, at their own size, and keep them at the clip's.

    Args:
        layout: Square pictures.
        frames: To be filled. Shape (frames, side, side, 3).
        frame_rate_hz: Of the clip.
        tick: Called after each frame.

    Raises:
        MediaError: If no picture shows a face.
        UsageError: If the extra `prepare` is not installed.
    """
    observed = Observations.none(len(layout.ids))
    with FaceLandmarker(model_path("face_landmarker.task"), video=True) as landmarker:
        for index, img_id in enumerate(layout.ids):
            picture = layout.picture(img_id)
            frames[index] = resample_picture(picture, frames.shape[1:])
            seen = landmarker.observe(_large(picture), index / frame_rate_hz)
            scale = frames.shape[1] / max(LEAST_SIDE, layout.height)
            observed.put(index, seen, scale=scale)
            tick()
    if not observed.valid.any():
        raise MediaError(
            f"{layout.pictures} shows no face that MediaPipe finds",
            "a clip needs its landmarks; .lms files do not replace them",
        )
    return observed


def _large(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = max(LEAST_SIDE, picture.shape[0])
    return resample_picture(picture, (side, side))


def find_face(
    observed: Observations, matrices: Poses, intrinsics: Intrinsics, *, frame_rate_hz: float
) -> Face:
    """Bring the layout's cameras into our world.

    Args:
        observed: Some frames show a face and have a camera.
        matrices: Their transform_matrix, NaN where there is none. Shape (frames, 4, 4).
        intrinsics: Of the clip's frames.
        frame_rate_hz: Of the clip.

    Raises:
        MediaError: If no frame has both a face and a camera.
    """
    side = intrinsics.height
    track = track_face(
        observed, Intrinsics.from_field_of_view(side, side), frame_rate_hz=frame_rate_hz
    )
    known = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    valid = known & track.valid
    if not valid.any():
        raise MediaError(
            "no frame that shows a face has a transform_matrix", "track the pictures again"
        )
    theirs = np.full_like(matrices, np.nan)
    theirs[known] = poses_from_layout(matrices[known])
    mesh = track.landmarks[valid, :MESH_LANDMARKS].astype(np.float64)
    world = SAME_WORLD
    for _ in range(ROUNDS):
        rest = _rest(mesh, world.move_poses(theirs[valid]), intrinsics)
        step = fit_similarity(rest[RIGID_LANDMARKS], track.rest[RIGID_LANDMARKS])
        world = Similarity(
            step.scale * world.scale,
            step.rotation @ world.rotation,
            step.move_points(world.translation),
        )
    poses = fill_poses(world.move_poses(theirs), known)
    rest = _rest(mesh, poses[valid], intrinsics)
    return Face(
        poses=poses,
        landmarks=track.landmarks,
        blendshapes=track.blendshapes,
        valid=valid,
        seen=track.valid,
        rest=rest,
        world=world,
        reprojection_px=_reprojection_px(mesh, poses[valid], rest, intrinsics),
    )


def _rest(mesh: NDArray[np.float64], poses: Poses, intrinsics: Intrinsics) -> NDArray[np.float64]:
    """The face at rest as these cameras see it, cm of their world. Shape (468, 3)."""
    guess = guess_rest(mesh, poses, intrinsics)
    return triangulate_rest(mesh[..., :2], poses, intrinsics, guess=guess)


def _reprojection_px(
    mesh: NDArray[np.float64], poses: Poses, rest: NDArray[np.float64], intrinsics: Intrinsics
) -> float:
    to_camera = invert_rigid(poses)
    in_camera = rest[RIGID_LANDMARKS] @ to_camera[:, :3, :3].swapaxes(1, 2)
    in_camera += to_camera[:, None, :3, 3]
    focal, center = (intrinsics.fx, intrinsics.fy), (intrinsics.cx, intrinsics.cy)
    pixels = in_camera[..., :2] / in_camera[..., 2:] * focal + center
    off = pixels - mesh[:, RIGID_LANDMARKS, :2]
    return float(np.sqrt((off**2).sum(axis=-1).mean()))
