"""Stage `tracking`: the face at rest, and the camera of every frame."""

import numpy as np

from sspnerf.data.manifest import Camera
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.face_regions import face_regions
from sspnerf.prepare.found import Faces, Take, Track
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.poses import most_usual_frame
from sspnerf.prepare.tracking import track_face
from sspnerf.prepare.workspace import Stage, Workspace

# More repeated pictures than this share are no accident.
OFTEN_REPEATED = 0.05
# ... and of more than this no film has become by another rate.
MOSTLY_REPEATED = 0.75


def run(work: Workspace) -> Track:
    """Fit one face to all frames."""
    take, side = work.found(Take), work.settings.size
    work.progress("tracking", 0, 1)
    observed = Observations(
        work.array("seen_landmarks"), work.array("head_transforms"), work.array("seen_blendshapes")
    )
    track = track_face(
        observed,
        Intrinsics.from_field_of_view(side, side),
        frame_rate_hz=take.frame_rate_hz,
        cuts=work.found(Faces).cuts,
    )
    camera = track.intrinsics
    _warn_of_repeated(work, int(track.repeated.sum()))
    work.create("raw_poses", track.raw_poses.shape, np.float64)[:] = track.raw_poses
    write = work.writer.write_array
    write("landmarks", track.landmarks)
    write("blendshapes", track.blendshapes)
    write("valid", track.valid)
    write("poses", track.poses)
    work.writer.write_mesh(
        FaceMesh(vertices=track.rest.astype(np.float32), triangles=face_regions().triangles.copy())
    )
    work.progress("tracking", 1, 1)
    return Track(
        reference_frame=most_usual_frame(track.poses, track.valid, cuts=work.found(Faces).cuts),
        camera=Camera(fx=camera.fx, fy=camera.fy, cx=camera.cx, cy=camera.cy),
        reprojection_px=round(track.reprojection_px, 4),
        is_focal_estimated=track.is_focal_estimated,
        focal_evidence=round(track.focal_evidence, 4),
        repeated=int(track.repeated.sum()),
    )


def _warn_of_repeated(work: Workspace, repeated: int) -> None:
    """Say so where a film of a lower rate was stored with some pictures twice."""
    take = work.found(Take)
    if repeated < OFTEN_REPEATED * take.frames:
        return
    if repeated > MOSTLY_REPEATED * take.frames:
        work.note_warning(f"{repeated} of {take.frames} pictures repeat: the picture stands still")
        return
    filmed_hz = take.frame_rate_hz * (1 - repeated / take.frames)
    work.note_warning(
        f"{repeated} of {take.frames} pictures repeat the one before; it was perhaps filmed at "
        f"{filmed_hz:.4g} frames/s (--frame-rate-hz)"
    )


STAGE = Stage(
    run=run,
    found=Track,
    needs=("decode", "landmarks"),
    reads=("seen_landmarks", "head_transforms", "seen_blendshapes"),
    settings=lambda settings: {"size": settings.size},
    scratch=("raw_poses",),
    leaves=("landmarks.npy", "blendshapes.npy", "valid.npy", "poses.npy", "mesh.npz"),
)
