"""Person and hair masks: two small networks, made steady in time and sharp at the silhouette.

Probabilities are float32 in [0, 1]. The networks run through OpenCV, on one picture at a time.
"""

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

PERSON_SIDE = 256
# At 256 px the hair network loses dark and blond hair alike; it is run rarely instead.
HAIR_SIDE = 512
# Hair is soft; this is enough to keep of it.
HAIR_KEPT_SIDE = 256
# The hair network looks so often; in between, hair keeps its place on the head.
HAIR_EVERY_S = 0.3
# Side of the square that the hair is looked for in, in heights of the face oval.
HEAD_BOX_FACES = 2.4

# Frames on either side that a mask is averaged with, where the picture did not change. A clip may
# be filtered in pieces: those that overlap by as many frames on either side give the same masks.
STEADY_REACH = 2
# Change of color that counts as motion, of 255.
STEADY_COLOR = 12.0
# Guided filter: radius as a share of the picture's side, and the contrast (of 255) that counts as
# an edge.
GUIDE_RADIUS = 0.02
GUIDE_CONTRAST = 6.0
# The filter sees pictures at no more than this side, px; what is finer is the silhouette's own
# business (`background.complete_silhouette`), and at 512 px the filter alone took 24 ms.
GUIDE_SIDE = 256


class SegmentationNetwork:
    """A .tflite network that labels pixels.

    OpenCV's transposed convolutions are slow (they took 70 to 90 % of these networks' time), so
    the network ends before the last of them, which double the picture's side without overlap:
    they are small matrix products.

    Args:
        model: Path of the file.
        side: Side of its square input, px.
    """

    def __init__(self, model: Path, *, side: int) -> None:
        self._network: Any = cv2.dnn.readNetFromTFLite(str(model), engine=cv2.dnn.ENGINE_CLASSIC)
        self._side = side
        self._names: list[str] = list(self._network.getLayerNames())

    def _doublings(self, count: int) -> list[int]:
        """Places of the last transposed convolutions among the layers, in order."""
        places = [i for i, name in enumerate(self._names) if self._layer(i).type == "Deconvolution"]
        return places[-count:]

    def _layer(self, place: int) -> Any:  # noqa: ANN401 (OpenCV has no type for it)
        return self._network.getLayer(self._names[place])

    def _forward(
        self, picture: NDArray[np.uint8], *, planes: int, until: int
    ) -> NDArray[np.float32]:
        """Tell what enters a layer. Shape (channels, height, width)."""
        small = fit(picture, self._side)
        blob = np.zeros((1, planes, self._side, self._side), dtype=np.float32)
        np.multiply(small.transpose(2, 0, 1), np.float32(1 / 255), out=blob[0, :3])
        self._network.setInput(blob)
        return np.asarray(self._network.forward(self._names[until - 1])[0], dtype=np.float32)


def _doubled(
    features: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Transpose-convolve with stride 2 and a 2 x 2 kernel; rows and columns not yet interleaved.

    Args:
        features: Shape (channels, ...).
        weight: Shape (channels, channels_out, 2, 2).
        bias: Shape (channels_out,).

    Returns:
        Shape (channels_out, 2, 2, ...).
    """
    taps = weight.reshape(len(weight), -1).T @ features.reshape(len(features), -1)
    taps += np.repeat(bias.ravel(), 4)[:, None]
    return np.asarray(taps.reshape(weight.shape[1], 2, 2, *features.shape[1:]))


def _interleaved(taps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape (2, 2, height, width) -> (2 height, 2 width)."""
    rows, columns = 2 * taps.shape[2], 2 * taps.shape[3]
    return np.ascontiguousarray(taps.transpose(2, 0, 3, 1)).reshape(rows, columns)


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + cv2.exp(-np.clip(values, -20, 20))), dtype=np.float32)


class PersonNetwork(SegmentationNetwork):
    """Which pixels show a person (MediaPipe selfie segmentation)."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, side=PERSON_SIDE)
        (self._last,) = self._doublings(1)

    def probability(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell the probability of a person.

        Args:
            picture: RGB. Shape (side, side, 3).

        Returns:
            Probability. Shape (256, 256).
        """
        features = self._forward(picture, planes=3, until=self._last)
        weight, bias = self._layer(self._last).blobs
        return _sigmoid(_interleaved(_doubled(features, weight, bias)[0]))


class HairNetwork(SegmentationNetwork):
    """Which pixels show hair (MediaPipe hair segmentation)."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, side=HAIR_SIDE)
        self._last_but_one, self._last = self._doublings(2)

    def probability(
        self, picture: NDArray[np.uint8], box: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Tell the probability of hair in a square of the picture.

        Args:
            picture: RGB. Shape (side, side, 3).
            box: The square: x0, y0, side, px; may reach beyond the picture.

        Returns:
            Probability. Shape (256, 256), over the box.
        """
        head = cv2.warpAffine(
            picture, box_to_window(box, HAIR_SIDE), (HAIR_SIDE, HAIR_SIDE),
            flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        features = self._forward(
            np.asarray(head, dtype=np.uint8), planes=4, until=self._last_but_one
        )
        features = _doubled(features, *self._layer(self._last_but_one).blobs)
        slope = self._layer(self._last - 1).blobs[0].reshape(-1, 1, 1, 1, 1)
        features = np.maximum(features, 0) + slope * np.minimum(features, 0)
        weight, bias = self._layer(self._last).blobs
        # Two classes: only their difference counts. The result is kept at half the side.
        taps = _doubled(features, np.diff(weight, axis=1), np.diff(bias.ravel()))[0]
        return _interleaved(
            _sigmoid(taps.reshape(-1, taps.shape[-1])).reshape(taps.shape).mean((0, 1))
        )


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let OpenCV and NumPy work on the thread that calls them only, for as long as this lasts.

    Their thread pools wait busily: two of our own threads with a network each need half the
    processor time without.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(threads)


def fit(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """Resample a picture to a square, averaging where it shrinks.

    Args:
        picture: Any type that OpenCV resamples. Shape (height, width, ...).
        side: px.

    Returns:
        The same picture. Shape (side, side, ...).
    """
    if picture.shape[:2] == (side, side):
        return picture
    method = cv2.INTER_AREA if side < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (side, side), interpolation=method))


def hair_every(frame_rate_hz: float) -> int:
    """Say how many frames lie between two looks at the hair."""
    return max(1, round(HAIR_EVERY_S * frame_rate_hz))


def to_bytes(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Store a probability in [0, 1] as 0 to 255."""
    return np.round(probability * 255).astype(np.uint8)


def head_box(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Find the square around the head, hair included.

    Args:
        landmarks: px. Shape (478, 3).

    Returns:
        x0, y0, side, px. Shape (3,).
    """
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    return box_around(np.concatenate((low, high)).astype(np.float64))


def box_around(face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the square around the head from the box of its face.

    Args:
        face: x0, y0, x1, y1, px. Shape (4,).

    Returns:
        x0, y0, side, px. Shape (3,).
    """
    side = HEAD_BOX_FACES * (face[3] - face[1])
    center = (face[:2] + face[2:]) / 2
    # Hair lies above the face rather than below.
    return np.array([center[0] - side / 2, center[1] - 0.55 * side, side], dtype=np.float64)


def box_to_window(box: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Make the affine map (OpenCV's pixel numbering) from a picture to the window over a box.

    Args:
        box: x0, y0, side, px of the picture.
        side: Of the window, px.

    Returns:
        Shape (2, 3).
    """
    scale = side / box[2]
    # OpenCV numbers pixel centres from 0, we number them from 0.5.
    shift = scale * (0.5 - box[:2]) - 0.5
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], dtype=np.float64)


class _Moment(NamedTuple):
    guide: NDArray[np.uint8]
    small: NDArray[np.uint8]
    probability: NDArray[np.float32]


class SilhouetteFilter:
    """Make the person's mask steady in time and sharp in space, frame after frame.

    Where a pixel keeps its color from frame to frame its probability is averaged with its
    neighbours in time, which removes flicker; where it changes it stands alone, so that a moving
    edge does not lag. The result follows the edges of the picture (guided filter: He et al. 2010).

    Frames leave `STEADY_REACH` later than they enter.

    Args:
        side: Side of the masks that leave, px; at least 256.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._moments: deque[_Moment] = deque(maxlen=2 * STEADY_REACH + 1)
        self._waiting = 0

    def push(
        self, picture: NDArray[np.uint8], probability: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Take one frame in.

        Args:
            picture: RGB. Shape (n, n, 3).
            probability: Of a person. Shape (256, 256).

        Returns:
            Masks that are finished (none or one), in order. Shape (side, side), in [0, 1].
        """
        guide = fit(picture, self._side)
        self._moments.append(_Moment(guide, fit(picture, PERSON_SIDE), probability))
        self._waiting += 1
        return [self._finish()] if self._waiting > STEADY_REACH else []

    def flush(self) -> list[NDArray[np.float32]]:
        """Finish the frames that are still inside, in order."""
        return [self._finish() for _ in range(self._waiting)]

    def _finish(self) -> NDArray[np.float32]:
        place = len(self._moments) - self._waiting
        self._waiting -= 1
        now = self._moments[place]
        total = now.probability.copy()
        weight = np.ones_like(total)
        for offset, other in enumerate(self._moments):
            if offset != place and abs(offset - place) <= STEADY_REACH:
                alike = _likeness(now.small, other.small)
                total += alike * other.probability
                weight += alike
        return sharpen_silhouette(now.guide, total / weight)


_LIKENESS = np.exp(-((np.arange(256) / STEADY_COLOR) ** 2)).astype(np.float32)


def _likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much each pixel kept its color, 1 = entirely. Shape (side, side)."""
    red, green, blue = cv2.split(cv2.absdiff(first, second))
    change = cv2.blur(cv2.max(cv2.max(red, green), blue), (3, 3))
    return np.asarray(cv2.LUT(change, _LIKENESS))


def sharpen_silhouette(
    picture: NDArray[np.uint8], probability: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Let a coarse mask follow the edges of the picture.

    Args:
        picture: RGB. Shape (side, side, 3).
        probability: Of a person, at any size. Shape (n, n).

    Returns:
        Shape (side, side), in [0, 1].
    """
    guide = fit(picture, min(picture.shape[0], GUIDE_SIDE))
    coarse = fit(probability, guide.shape[0])
    radius = max(2, round(GUIDE_RADIUS * guide.shape[0]))
    guided = cv2.ximgproc.guidedFilter(guide, coarse, radius, GUIDE_CONTRAST**2)
    # The filter leaves a veil far from any edge; the coarse mask is certain there.
    clear = np.asarray(np.clip((guided - 0.05) / 0.9, 0, 1), dtype=np.float32)
    return np.asarray(fit(clear, picture.shape[0]), dtype=np.float32)


def window_to_frame(
    window: NDArray[np.float32], box: NDArray[np.float64], side: int
) -> NDArray[np.float32]:
    """Put what was seen in a box back to its place in the frame; 0 outside.

    Args:
        window: Shape (n, n).
        box: x0, y0, side, px of the frame.
        side: Of the frame, px.

    Returns:
        Shape (side, side).
    """
    return np.asarray(
        cv2.warpAffine(
            window, box_to_window(box, window.shape[0]), (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
    )  # fmt: skip
