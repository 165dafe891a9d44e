"""The synthetic speaker as a scene: what each frame shows, and how to render it.

World is head space, cm: +x to the picture's right, +y up, +z out of the face. The camera rests in
the studio; seen from the head it moves (docs/synth.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sspnerf.config import SynthConfig
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.synth.motion import move
from sspnerf.synth.pictures import Picture, face_height, paint_background, render_picture
from sspnerf.synth.surfaces import FACE_AXES
from sspnerf.synth.visemes import MOUTH_AXES, REST_VISEME, VISEMES, mouth_shapes
from sspnerf.synth.voice import Speech

FIELD_OF_VIEW_DEG = 41.0
CAMERA_POSITION = (0.0, -4.2, 48.0)
# OpenCV's camera axes (right, down, forward) in the studio, whose y is up and whose z is backward.
CAMERA_TO_STUDIO = np.array(
    [
        [1.0, 0.0, 0.0, CAMERA_POSITION[0]],
        [0.0, -1.0, 0.0, CAMERA_POSITION[1]],
        [0.0, 0.0, -1.0, CAMERA_POSITION[2]],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
REST_FACE = np.array([*VISEMES[REST_VISEME], 1.0, 0.0, 0.0, 0.0])

# The rest mesh: rows from chin to brow-top, columns from ear to ear.
MESH_BOTTOM, MESH_TOP = -8.2, 5.2
MESH_ROWS, MESH_COLUMNS = 27, 25
# The face's outline: half its width, cm, at heights, cm.
MESH_OUTLINE = (
    (-8.2, -7.4, -6.0, -4.0, -1.0, 2.0, 4.0, 5.2),
    (1.6, 2.9, 4.2, 5.2, 6.0, 6.2, 5.6, 4.6),
)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Everything that changes from frame to frame; one row per frame."""

    poses: NDArray[np.float64]
    """camera_to_world, cm. Shape (frames, 4, 4)."""
    torso_poses: NDArray[np.float64]
    """Where the camera stands if the torso is held still. Shape (frames, 4, 4)."""
    mouth: NDArray[np.float64]
    """Columns as in `MOUTH_AXES`. Shape (frames, 4)."""
    eye_openness: NDArray[np.float64]
    """0 closed to 1 open. Shape (frames,)."""
    brow_raise: NDArray[np.float64]
    """0 at rest to 1 raised. Shape (frames,)."""
    gaze: NDArray[np.float64]
    """Shift of the irises right and up, cm. Shape (frames, 2)."""
    reference_frame: int
    """Where head and torso agree."""

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.poses)

    @property
    def faces(self) -> NDArray[np.float64]:
        """The tracer's expression vectors, columns as in `FACE_AXES`. Shape (frames, 8)."""
        eyes = (self.eye_openness[:, None], self.brow_raise[:, None], self.gaze)
        return np.concatenate([self.mouth, *eyes], axis=1)


def perform(speech: Speech, settings: SynthConfig) -> Performance:
    """Plan the take: the mouth follows the phonemes, all else follows the seed.

    Frame i shows the middle of [i, i + 1) / frame_rate_hz.
    """
    frames = max(round(settings.seconds * settings.frame_rate_hz), 1)
    times_s = (np.arange(frames, dtype=np.float64) + 0.5) / settings.frame_rate_hz
    reference_frame = frames // 2
    motion = move(
        times_s, speech.phonemes, reference_s=float(times_s[reference_frame]), seed=settings.seed
    )
    return Performance(
        poses=np.linalg.inv(motion.head_to_studio) @ CAMERA_TO_STUDIO,
        torso_poses=np.linalg.inv(motion.torso_to_studio) @ CAMERA_TO_STUDIO,
        mouth=mouth_shapes(speech.phonemes, times_s),
        eye_openness=motion.eye_openness,
        brow_raise=motion.brow_raise,
        gaze=motion.gaze,
        reference_frame=reference_frame,
    )


def synthetic_camera(size: int) -> Intrinsics:
    """Return the camera that films head, shoulders and upper chest in a square picture."""
    return Intrinsics.from_field_of_view(size, size, degrees=FIELD_OF_VIEW_DEG)


def render_frame(camera: Intrinsics, performance: Performance, frame_index: int) -> Picture:
    """Render one frame of a take, with its truth."""
    return render_picture(
        camera,
        performance.poses[frame_index],
        performance.torso_poses[frame_index],
        performance.faces[frame_index],
    )


def background_plate(camera: Intrinsics) -> NDArray[np.uint8]:
    """Render the wall behind the speaker, exactly as every frame shows it.

    Returns:
        RGB, shape (height, width, 3).
    """
    return paint_background(camera.width, camera.height)


def rest_mesh() -> FaceMesh:
    """Sample the face at rest, mouth closed, between the ears, the tops of the brows and the chin.

    Vertices lie on the skin that the tracer renders; triangles are turned out of the face.
    """
    y = np.linspace(MESH_BOTTOM, MESH_TOP, MESH_ROWS)
    half = np.interp(y, *MESH_OUTLINE)
    x = np.linspace(-1, 1, MESH_COLUMNS) * half[:, None]
    rows = np.broadcast_to(y[:, None], x.shape)
    z = [face_height(a, b, REST_FACE) for a, b in zip(x.ravel(), rows.ravel(), strict=True)]
    vertices = np.stack([x.ravel(), rows.ravel(), np.array(z)], axis=-1)
    corner = np.arange(MESH_ROWS - 1)[:, None] * MESH_COLUMNS + np.arange(MESH_COLUMNS - 1)
    a, b = corner.ravel(), corner.ravel() + 1
    c, d = a + MESH_COLUMNS, b + MESH_COLUMNS
    triangles = np.concatenate([np.stack([a, b, d], axis=-1), np.stack([a, d, c], axis=-1)])
    return FaceMesh(vertices=vertices.astype(np.float32), triangles=triangles.astype(np.int32))


assert FACE_AXES[: len(MOUTH_AXES)] == MOUTH_AXES  # noqa: S101 - two tables, one order
