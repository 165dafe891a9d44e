"""The 68 landmarks of the layout's .lms files (ibug's scheme), from what a clip knows.

    0-16 jaw, from the picture's left to its right, 8 the chin    17-21, 22-26 brows
    27-30 bridge of the nose, 31-35 below it    36-41, 42-47 eyes    48-59 outer, 60-67 inner lip

Their readers take boxes of these groups and the areas of the eyes; AD-NeRF's tracker fits the face
to them. A .lms file is text: 68 lines `x y`, px.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sspnerf.data.semantics import SemanticClass

# MediaPipe's landmark for each of the 68. Eyes and lips are the ring points that lie where ibug's
# do; the jaw's lie on MediaPipe's face oval at equal distances from the ear's top to the chin
# (measured on a real face), so that ibug's first and last agree with the height of the eyes.
MEDIAPIPE_TO_IBUG68 = np.array(
    [
        127, 234, 132, 58, 172, 136, 150, 176, 152, 400, 379, 365, 397, 288, 361, 454, 356,
        70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
        168, 197, 5, 4, 98, 97, 2, 326, 327,
        33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
        61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,
        78, 81, 13, 311, 308, 402, 14, 178,
    ]
)  # fmt: skip

# For landmarks of another numbering: each group lies in the box of these classes. The face's own
# box is that of everything in it without hair.
FACE_CLASSES = (
    SemanticClass.SKIN, SemanticClass.BROW, SemanticClass.EYE, SemanticClass.NOSE,
    SemanticClass.MOUTH_INTERIOR, SemanticClass.LIP,
)  # fmt: skip
# Where a face without its part (a closed eye) has it: x0, y0, x1, y1 in shares of the face's box.
USUAL_PLACES = {
    "right_brow": (0.10, 0.18, 0.42, 0.26),
    "left_brow": (0.58, 0.18, 0.90, 0.26),
    "right_eye": (0.16, 0.32, 0.40, 0.42),
    "left_eye": (0.60, 0.32, 0.84, 0.42),
    "nose": (0.38, 0.32, 0.62, 0.64),
    "mouth": (0.30, 0.72, 0.70, 0.86),
}

Box = NDArray[np.float64]


def write_landmarks(path: Path, points: NDArray[np.float64]) -> None:
    """Write a .lms file. Shape (68, 2), px."""
    np.savetxt(path, points, fmt="%f")


def ibug68_from_mediapipe(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Choose the 68 among MediaPipe's landmarks.

    Args:
        landmarks: px. Shape (478, 3).

    Returns:
        Shape (68, 2), px.
    """
    return landmarks[MEDIAPIPE_TO_IBUG68, :2].astype(np.float64)


def ibug68_from_labels(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Draw the 68 into the boxes of a label map: right in place and size, not in detail.

    Args:
        labels: `SemanticClass` values. Shape (height, width).

    Returns:
        Shape (68, 2), px; around the picture's middle if it shows no face.
    """
    height, width = labels.shape
    face = _box(np.isin(labels, FACE_CLASSES))
    if face is None:
        face = np.array([width / 4, height / 4, 3 * width / 4, 3 * height / 4])
    middle = (face[0] + face[2]) / 2
    is_left = np.arange(width) + 0.5 > middle

    def box(name: str, mask: NDArray[np.bool_]) -> Box:
        found = _box(mask)
        usual = np.array(USUAL_PLACES[name]) * np.tile(face[2:] - face[:2], 2)
        return found if found is not None else usual + np.tile(face[:2], 2)

    brow, eye = labels == SemanticClass.BROW, labels == SemanticClass.EYE
    nose = box("nose", labels == SemanticClass.NOSE)
    mouth = box("mouth", np.isin(labels, (SemanticClass.LIP, SemanticClass.MOUTH_INTERIOR)))
    bridge = np.stack((np.full(4, nose[[0, 2]].mean()), np.linspace(nose[1], nose[3], 5)[:4]), 1)
    below = np.stack((np.linspace(nose[0], nose[2], 5), np.full(5, nose[3])), axis=1)
    return np.concatenate(
        (
            _arc(face, 17, start=np.pi, end=0.0),
            _arc(box("right_brow", brow & ~is_left), 5, start=-np.pi, end=0.0),
            _arc(box("left_brow", brow & is_left), 5, start=-np.pi, end=0.0),
            bridge,
            below,
            _ring(box("right_eye", eye & ~is_left), 6),
            _ring(box("left_eye", eye & is_left), 6),
            _ring(mouth, 12),
            _ring(_shrunk(mouth, 0.6), 8),
        )
    )


def _box(mask: NDArray[np.bool_]) -> Box | None:
    """Return x0, y0, x1, y1 of what is marked, px, end exclusive."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


def _shrunk(box: Box, share: float) -> Box:
    middle = np.tile((box[:2] + box[2:]) / 2, 2)
    return np.asarray(middle + share * (box - middle))


def _arc(box: Box, points: int, *, start: float, end: float) -> NDArray[np.float64]:
    """Walk along the ellipse in a box, angles from x towards y (down). Shape (points, 2)."""
    angle = np.linspace(start, end, points)
    middle, radius = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    return np.asarray(middle + radius * np.stack((np.cos(angle), np.sin(angle)), axis=1))


def _ring(box: Box, points: int) -> NDArray[np.float64]:
    """Walk around, from the picture's left over the top."""
    return _arc(box, points + 1, start=-np.pi, end=np.pi)[:-1]
