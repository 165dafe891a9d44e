"""Head poses and the face at rest, from what was seen in each frame.

Symbols: X = a rest vertex in world space (head space, cm); (R, t) = world_to_camera of a frame in
OpenCV axes, so that R X + t is the vertex in camera space; u = its place in the picture, px. A
frame in which no face was found holds NaN until it is filled in, and stays marked in `valid`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.expression import smooth_expression
from sspnerf.prepare.face_frames import FaceBoxes, believable, find_repeated
from sspnerf.prepare.focal_length import estimate_focal_length, move_away
from sspnerf.prepare.head_fit import Take, fit_head
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.poses import (
    Poses,
    complete_poses,
    fill_lost,
    head_to_camera_pose,
    interpolate_lost,
)
from sspnerf.prepare.steadiness import without_repeated


class FaceTrack(NamedTuple):
    """The face through the whole clip, lost frames filled in."""

    poses: Poses
    """camera_to_world, world = head space, cm. Shape (frames, 4, 4)."""
    landmarks: NDArray[np.float32]
    """x, y, z in px; the array that was observed if no frame was lost. Shape (frames, 478, 3)."""
    blendshapes: NDArray[np.float32]
    """Weights in [0, 1], without their noise. Shape (frames, 52)."""
    valid: NDArray[np.bool_]
    """False where the face was lost, or could not be believed. Shape (frames,)."""
    rest: NDArray[np.float64]
    """The face at rest, cm. Shape (468, 3)."""
    reprojection_px: float
    """Root mean square distance of rigid landmarks from where their vertices appear, px."""
    raw_poses: Poses
    """camera_to_world as MediaPipe says it, lost frames filled in; moved away from the head as far
    as `intrinsics` has a longer lens than MediaPipe assumes. Shape (frames, 4, 4)."""
    frame_error_px: NDArray[np.float64]
    """Median distance of a frame's rigid landmarks from where their vertices appear, px; NaN where
    the face was lost. Shape (frames,)."""
    repeated: NDArray[np.bool_]
    """True where a frame shows the same picture as the one before. Shape (frames,)."""
    intrinsics: Intrinsics
    """The camera for which all this holds; its focal length is estimated if the face tells it."""
    is_focal_estimated: bool
    """False if the focal length is the one that was assumed."""
    focal_evidence: float
    """Share by which the best focal length lowers the squared reprojection error."""


def track_face(
    observed: Observations,
    intrinsics: Intrinsics,
    *,
    frame_rate_hz: float = 25.0,
    cuts: tuple[int, ...] = (),
) -> FaceTrack:
    """Turn single observations into one consistent track.

    Args:
        observed: At least one frame shows a face. The landmarks may be a memory map.
        intrinsics: Of the picture in which the landmarks were seen, as MediaPipe assumes it.
        frame_rate_hz: How fast frames follow each other.
        cuts: First frames after a cut: nothing is smooth or interpolated across them.

    Returns:
        The track; lost frames are interpolated and not valid.
    """
    boxes = FaceBoxes(observed.landmarks)
    valid = believable(observed, boxes, frame_rate_hz, cuts=cuts)
    repeated = find_repeated(boxes, valid, cuts=cuts)
    raw = complete_poses(head_to_camera_pose(observed.head_transforms), valid, cuts=cuts)
    fresh, rate, fresh_cuts = without_repeated(len(valid), frame_rate_hz, cuts, repeated)
    take = Take(
        observed.landmarks, fresh, valid[fresh], intrinsics, rate, fresh_cuts,
        face_px=float(np.median(boxes.size[valid])),
    )  # fmt: skip
    focal = estimate_focal_length(take, raw[fresh])
    raw = move_away(raw, focal.intrinsics.fx / intrinsics.fx)
    fit = fit_head(take._replace(intrinsics=focal.intrinsics), raw[fresh])
    # A repeated frame has all of the frame before it.
    source = np.searchsorted(fresh, np.arange(len(valid)), side="right") - 1
    valid = valid & fit.valid[source]
    blendshapes = interpolate_lost(observed.blendshapes.astype(np.float64), valid, cuts=cuts)
    return FaceTrack(
        poses=fit.refined.poses[source],
        landmarks=_whole(observed.landmarks, valid, cuts),
        blendshapes=smooth_expression(blendshapes[fresh], rate, cuts=fresh_cuts)[source],
        valid=valid,
        rest=fit.rest,
        reprojection_px=fit.refined.reprojection_px,
        raw_poses=raw,
        frame_error_px=fit.refined.frame_error_px[source],
        repeated=repeated,
        intrinsics=focal.intrinsics,
        is_focal_estimated=focal.is_estimated,
        focal_evidence=focal.evidence,
    )


def _whole(
    landmarks: NDArray[np.float32], valid: NDArray[np.bool_], cuts: tuple[int, ...]
) -> NDArray[np.float32]:
    """Fill lost frames in, in a copy; without any there is nothing to copy."""
    if valid.all():
        return landmarks
    filled = np.array(landmarks)
    fill_lost(filled, valid, cuts=cuts)
    return filled
