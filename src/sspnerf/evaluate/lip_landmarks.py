"""Landmark distance (LMD): do the rendered lips have the shape of the filmed ones?

Both pictures go through the same detector, MediaPipe's Face Landmarker. It is not always at hand
and sees no face in every picture, so whoever asks also gets the reason why there is no distance.
"""

import contextlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import SspnerfError
from sspnerf.perception.landmarks import FaceLandmarker, mediapipe_vision
from sspnerf.perception.models import model_path

MODEL = "face_landmarker.task"
# With fewer faces found, the mean would be one over the frames that came out well.
MIN_FOUND_SHARE = 0.5

Points = NDArray[np.float64]


class LandmarkDistance(NamedTuple):
    """Mean over frames, or why there is none: exactly one of the two is None."""

    distance: float | None
    """Px of the pictures that were compared; lower is better."""
    missing: str | None
    """Why it could not be measured."""


def landmark_distance(points: Points, truth: Points) -> float:
    """Return how far points lie from where they should, apart from a common shift; px.

    .. math:: LMD = mean_j |(p_j - mean(p)) - (q_j - mean(q))|

    Args:
        points: p, landmarks in px. Shape (points, 2).
        truth: q, the same landmarks of the true picture, px. Shape (points, 2).

    Returns:
        0 or more, lower is better. It grows with the picture: compare pictures of one size only.

    Example:
        >>> wide, narrow = np.array([[0.0, 0.0], [8.0, 0.0]]), np.array([[5.0, 5.0], [7.0, 5.0]])
        >>> landmark_distance(wide, narrow)
        3.0

    Source: Chen et al. 2018 (arXiv:1803.10404), as ER-NeRF's code (arXiv:2307.09323) computes it.
    Differs from it in: MediaPipe's 40 points of the lips instead of 20 of the ibug68 scheme.
    """
    apart = (points - points.mean(axis=0)) - (truth - truth.mean(axis=0))
    return float(np.linalg.norm(apart, axis=1).mean())


class LipComparison:
    """Measures the landmark distance frame by frame.

    A context manager. Where the detector cannot run, it measures nothing and says why.
    """

    def __init__(self) -> None:
        self._distances: list[float] = []
        self._frames = 0
        self._missing: str | None = None
        self._open = contextlib.ExitStack()
        try:
            self._lips = _lip_indices()
            self._detector = self._open.enter_context(
                FaceLandmarker(model_path(MODEL), video=False)
            )
        except ImportError as error:
            self._missing = f"{error.name} is not installed"
        except SspnerfError as error:
            self._missing = str(error)

    def __enter__(self) -> "LipComparison":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the detector."""
        self._open.close()

    def mouth(self, picture: NDArray[np.uint8]) -> Points | None:
        """Find the landmarks of the lips.

        Args:
            picture: RGB. Shape (height, width, 3).

        Returns:
            Outer and inner lips, px. Shape (40, 2). None if no face is found.
        """
        seen = self._detector.observe(picture)
        return None if seen is None else seen.landmarks[self._lips, :2].astype(np.float64)

    def add(self, picture: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Compare a rendered picture with the filmed one; RGB, shapes (height, width, 3)."""
        if self._missing is not None:
            return
        self._frames += 1
        points, true_points = self.mouth(picture), self.mouth(truth)
        if points is not None and true_points is not None:
            self._distances.append(landmark_distance(points, true_points))

    def result(self) -> LandmarkDistance:
        """Return the mean over the frames where both pictures show a face."""
        found, frames = len(self._distances), self._frames
        if self._missing is not None:
            return LandmarkDistance(None, self._missing)
        if not found or found < MIN_FOUND_SHARE * frames:
            return LandmarkDistance(None, f"a face was found in {found} of {frames} frames")
        return LandmarkDistance(float(np.mean(self._distances)), None)


def _lip_indices() -> NDArray[np.int64]:
    """Which of the 478 landmarks lie on the outer and the inner edge of the lips."""
    edges = mediapipe_vision().FaceLandmarksConnections.FACE_LANDMARKS_LIPS
    return np.unique([(edge.start, edge.end) for edge in edges]).astype(np.int64)
