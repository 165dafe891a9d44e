"""Landmarks, head transform and blendshapes of the face in each frame (MediaPipe Face Landmarker).

MediaPipe's frames: landmarks are fractions of the picture; the head transform takes its metric face
(cm, +y up, +z out of the face) to an OpenGL camera (+y up, +z backward) whose vertical field of
view over the picture is 63 degrees. Head transforms are kept as they come;
`prepare.poses.head_to_camera_pose` alone turns them into ours.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_REDIRECTION = threading.RLock()

LANDMARKS = 478
MESH_LANDMARKS = 468
BLENDSHAPES = 52


class FaceObservation(NamedTuple):
    """What MediaPipe says about the face in one picture."""

    landmarks: NDArray[np.float32]
    """x, y in px and z in px-like units (towards the back). Shape (478, 3)."""
    head_transform: NDArray[np.float64]
    """Metric face to OpenGL camera, cm. Shape (4, 4)."""
    blendshapes: NDArray[np.float32]
    """Weights in [0, 1], MediaPipe's order. Shape (52,)."""


class FaceLandmarker:
    """Follow one face through a video, or find the largest one in single pictures.

    A context manager: MediaPipe's threads must be closed before the interpreter ends.

    Args:
        model: Path of `face_landmarker.task`.
        video: Whether pictures come as consecutive frames of one video.
        faces: How many to find at most. None: 1 in a video, where the first is followed; 4 in
            single pictures, where the largest must be sought.
    """

    def __init__(self, model: Path, *, video: bool, faces: int | None = None) -> None:
        vision = mediapipe_vision()
        mode = vision.RunningMode
        options = vision.FaceLandmarkerOptions(
            base_options=base_options(model),
            running_mode=mode.VIDEO if video else mode.IMAGE,
            num_faces=faces or (1 if video else 4),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._video = video
        self._last_ms = -1
        self._greeted = False
        with quiet_native_log():
            self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)

    def __enter__(self) -> "FaceLandmarker":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Stop MediaPipe's threads; doing it twice is harmless."""
        if self._landmarker is not None:
            self._landmarker.close()
            self._landmarker = None

    def observe(self, picture: NDArray[np.uint8], time_s: float = 0.0) -> FaceObservation | None:
        """Find the face, the largest if there are several.

        Args:
            picture: RGB. Shape (height, width, 3).
            time_s: Its time in the video, s; must grow from call to call.

        Returns:
            What was seen, or None if no face was.
        """
        faces = self.observe_all(picture, time_s)
        return max(faces, key=_area, default=None)

    def observe_all(self, picture: NDArray[np.uint8], time_s: float = 0.0) -> list[FaceObservation]:
        """Find all faces, up to the number that was asked for, in MediaPipe's order.

        Args:
            picture: RGB. Shape (height, width, 3).
            time_s: Its time in the video, s; must grow from call to call.

        Returns:
            What was seen; empty if no face was.
        """
        # The first picture makes the native library greet on stderr once more.
        quiet = contextlib.nullcontext() if self._greeted else quiet_native_log()
        self._greeted = True
        with quiet:
            result = self._detect(np.ascontiguousarray(picture), time_s)
        height, width = picture.shape[:2]
        unit = np.array([width, height, width], dtype=np.float32)
        # Without a transform a face is of no use: the lists may differ in length.
        return [
            FaceObservation(
                landmarks=np.array([(p.x, p.y, p.z) for p in points], dtype=np.float32) * unit,
                head_transform=np.asarray(transform, np.float64),
                blendshapes=np.array([shape.score for shape in shapes], dtype=np.float32),
            )
            for points, transform, shapes in zip(
                result.face_landmarks,
                result.facial_transformation_matrixes,
                result.face_blendshapes,
                strict=False,
            )
        ]

    def _detect(self, picture: NDArray[np.uint8], time_s: float) -> Any:  # noqa: ANN401 - MediaPipe is untyped
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        if not self._video:
            return self._landmarker.detect(image)
        # MediaPipe refuses equal timestamps; at more than 1000 Hz rounding would make some.
        self._last_ms = max(self._last_ms + 1, round(1000 * time_s))
        return self._landmarker.detect_for_video(image, self._last_ms)


def _area(face: FaceObservation) -> float:
    return float(np.prod(np.ptp(face.landmarks[:, :2], axis=0)))


def mediapipe_vision() -> Any:  # noqa: ANN401 - MediaPipe is untyped
    """Import MediaPipe's vision tasks; late, as it takes a second."""
    from mediapipe.tasks.python import vision

    return vision


def base_options(model: Path) -> Any:  # noqa: ANN401 - MediaPipe is untyped
    """Name a model file the way MediaPipe's tasks want it."""
    from mediapipe.tasks.python import BaseOptions

    return BaseOptions(model_asset_path=str(model))


@contextlib.contextmanager
def quiet_native_log() -> Iterator[None]:
    """Send what native code writes to stderr away; it has no switch of its own for this.

    Python's own errors are raised, not written, so nothing of ours is lost meanwhile.
    """
    # One at a time: of two threads the second would take the sink for what is to be restored.
    with _REDIRECTION:
        sys.stderr.flush()
        saved = os.dup(2)
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(sink)
