"""The rectangle around a face from which AD-NeRF draws most of its rays."""

import numpy as np
from numpy.typing import NDArray

# How far the rectangle reaches, in half widths of the landmarks and in distances eyes to chin.
# Source: AD-NeRF's released code.
WIDEN = 1.5
HEIGHTEN = 1.15
# Where the eyes are in the landmarks' box, from its top; proportions of a face from hair to chin.
EYE_LINE = 0.35


def face_rectangle(
    landmarks: NDArray[np.float32], *, width: int, height: int
) -> tuple[int, int, int, int]:
    """Return the rectangle around a face, wider than its landmarks.

    Its middle is that of the landmarks across and the eye line down. It reaches 1.5 times as far
    as the landmarks to either side, and 1.15 times as far as the chin upwards and downwards.

    Args:
        landmarks: Tracked points; x, y in px. Shape (landmarks, 3).
        width: Of the picture, px.
        height: Of the picture, px.

    Returns:
        x0, y0, x1, y1 in px, end exclusive, in the picture, at least 1 px each way. The whole
        picture if there are no landmarks or one is not finite.

    Example:
        >>> points = np.array([[40, 20, 0], [60, 20, 0], [50, 60, 0]], np.float32)
        >>> face_rectangle(points, width=100, height=100)
        (35, 4, 65, 64)

    Source: AD-NeRF's released code (Guo et al. 2021, arXiv:2103.11078). Differs from it in: the eye
        line at 0.35 of the landmarks' height stands for landmark 27 of 68, and the lowest landmark
        for the chin (8), so that any numbering of landmarks will do.
    """
    points = landmarks[:, :2].astype(np.float64)
    if not len(points) or not np.isfinite(points).all():
        return 0, 0, width, height
    (left, top), (right, chin) = points.min(axis=0), points.max(axis=0)
    x, y = (left + right) / 2, top + EYE_LINE * (chin - top)
    half_width, half_height = WIDEN * (right - x), HEIGHTEN * (chin - y)
    x0, x1 = _inside(x - half_width, x + half_width, width)
    y0, y1 = _inside(y - half_height, y + half_height, height)
    return x0, y0, x1, y1


def _inside(start: float, end: float, size: int) -> tuple[int, int]:
    """Return whole pixels that cover a stretch, as far as they are in the picture."""
    first = int(np.clip(np.floor(start), 0, size - 1))
    return first, int(np.clip(np.ceil(end), first + 1, size))
