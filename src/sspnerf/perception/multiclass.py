"""Background, hair, skin and clothes, told apart by MediaPipe's multi-class selfie segmenter.

The model carries MediaPipe's metadata (how its input is scaled, that its output wants a softmax),
so MediaPipe's own Image Segmenter runs it.
"""

import contextlib
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import SspnerfError
from sspnerf.perception.landmarks import base_options, mediapipe_vision, quiet_native_log


class SelfieClass(IntEnum):
    """What the model can say. Source: MediaPipe's guide, Image Segmenter, multi-class selfie."""

    BACKGROUND = 0
    HAIR = 1
    BODY_SKIN = 2
    FACE_SKIN = 3
    CLOTHES = 4
    OTHER = 5
    """Things worn: glasses, hats, jewelry."""


class SelfieNetwork:
    """Labels the pixels of single pictures; each on its own, none remembers another.

    A context manager: MediaPipe's threads must be closed before the interpreter ends.

    Args:
        model: Path of `selfie_multiclass_256x256.tflite`.

    Raises:
        SspnerfError: If MediaPipe cannot run the file.
    """

    def __init__(self, model: Path) -> None:
        vision = mediapipe_vision()
        options = vision.ImageSegmenterOptions(
            base_options=base_options(model),
            running_mode=vision.RunningMode.IMAGE,
            output_confidence_masks=True,
            output_category_mask=False,
        )
        self._model = model
        self._greeted = False
        self._segmenter: Any = None
        try:
            with quiet_native_log():
                self._segmenter = vision.ImageSegmenter.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise SspnerfError(
                f"{model} cannot be run by MediaPipe's Image Segmenter: "
                f"{str(error).splitlines()[0]}",
                "remove the file and prepare again; it is downloaded anew",
            ) from error

    def __enter__(self) -> "SelfieNetwork":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Stop MediaPipe's threads; doing it twice is harmless."""
        if self._segmenter is not None:
            self._segmenter.close()
            self._segmenter = None

    def probabilities(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell the probability of each class.

        Args:
            picture: RGB; seen at 256 x 256 px, whatever its shape. Shape (height, width, 3).

        Returns:
            In the order of `SelfieClass`; they sum to 1. Shape (6, height, width).

        Raises:
            SspnerfError: If the model has other classes.
        """
        import mediapipe

        image = mediapipe.Image(
            image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
        )
        quiet = contextlib.nullcontext() if self._greeted else quiet_native_log()
        self._greeted = True
        with quiet:
            masks = self._segmenter.segment(image).confidence_masks
        if len(masks) != len(SelfieClass):
            raise SspnerfError(
                f"{self._model} tells {len(masks)} classes apart; expected {len(SelfieClass)}",
                "use selfie_multiclass_256x256.tflite of MediaPipe",
            )
        height, width = picture.shape[:2]
        planes = [np.array(mask.numpy_view()).reshape(height, width) for mask in masks]
        return np.asarray(np.stack(planes), dtype=np.float32)
