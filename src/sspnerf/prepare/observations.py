"""What the landmarker has seen in every frame of a clip, as arrays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.perception.landmarks import BLENDSHAPES, LANDMARKS, FaceObservation


class Observations(NamedTuple):
    """The face in every frame; NaN throughout where none was found."""

    landmarks: NDArray[np.float32]
    """x, y in px and z in px-like units, of the clip's frames. Shape (frames, 478, 3)."""
    head_transforms: NDArray[np.float64]
    """MediaPipe's: metric face to OpenGL camera, cm. Shape (frames, 4, 4)."""
    blendshapes: NDArray[np.float32]
    """Weights in [0, 1]. Shape (frames, 52)."""

    @classmethod
    def none(cls, frames: int) -> "Observations":
        """Start with no face in any frame."""
        return cls(
            np.full((frames, LANDMARKS, 3), np.nan, np.float32),
            np.full((frames, 4, 4), np.nan),
            np.full((frames, BLENDSHAPES), np.nan, np.float32),
        )

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Whether a face was found. Shape (frames,)."""
        return np.asarray(np.isfinite(self.head_transforms).all(axis=(1, 2)))

    def put(self, index: int, seen: FaceObservation | None, *, scale: float = 1.0) -> None:
        """Note what was seen in a frame.

        Args:
            index: The frame.
            seen: In a picture of any size; None where there was no face.
            scale: Side of the clip's frames / side of that picture.
        """
        if seen is None:
            for array in self:
                array[index] = np.nan
            return
        self.landmarks[index] = seen.landmarks * np.float32(scale)
        self.head_transforms[index] = seen.head_transform
        self.blendshapes[index] = seen.blendshapes
