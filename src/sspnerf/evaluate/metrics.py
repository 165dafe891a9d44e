"""Measures of one picture against another, and of label maps.

Pictures are uint8 RGB, (height, width, 3). Every function says which direction is better.
"""

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sspnerf.data.semantics import MOUTH_CLASSES, SEMANTIC_CLASSES

# Lips are cut out with this share of the picture's side around them.
MOUTH_MARGIN = 1 / 64
# Identical pictures have no finite PSNR; 8-bit pictures cannot say more than this.
PSNR_MAX_DB = 60.0


def psnr(picture: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB; higher is better, identical is 60.

    Example:
        >>> black, gray = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 51, np.uint8)
        >>> round(psnr(gray, black), 2)
        13.98
    """
    if np.array_equal(picture, truth):
        return PSNR_MAX_DB
    return min(PSNR_MAX_DB, float(peak_signal_noise_ratio(truth, picture, data_range=255)))


def ssim(picture: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Return the structural similarity, at most 1; higher is better.

    Source: Wang et al. 2004, with its Gaussian window (sigma 1.5), as scikit-image computes it.
    """
    return float(
        structural_similarity(
            truth, picture, channel_axis=2, data_range=255,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
    )  # fmt: skip


def mouth_box(labels: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Return the box around lips and mouth interior with a small margin, or None if none is seen.

    Args:
        labels: `SemanticClass` values. Shape (height, width).

    Returns:
        x0, y0, x1, y1 in px, end exclusive, inside the picture.
    """
    rows, columns = np.nonzero(np.isin(labels, MOUTH_CLASSES))
    if not len(rows):
        return None
    height, width = labels.shape
    margin = max(1, round(MOUTH_MARGIN * max(height, width)))
    return (
        max(0, int(columns.min()) - margin),
        max(0, int(rows.min()) - margin),
        min(width, int(columns.max()) + 1 + margin),
        min(height, int(rows.max()) + 1 + margin),
    )


def confusion(labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count pixels by true class (row) and found class (column). Shape (classes, classes)."""
    pairs = truth.astype(np.int64) * SEMANTIC_CLASSES + labels
    count = np.bincount(pairs.reshape(-1), minlength=SEMANTIC_CLASSES**2)
    return count.reshape(SEMANTIC_CLASSES, SEMANTIC_CLASSES)


def class_iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return intersection over union of each class; nan where neither side shows the class.

    Args:
        counts: Sum of `confusion` over frames.

    Returns:
        In [0, 1], higher is better. Shape (classes,).

    Example:
        >>> class_iou(np.array([[2, 1], [1, 0]]))
        array([0.5, 0. ])
    """
    intersection = counts.diagonal().astype(np.float64)
    union = counts.sum(axis=0) + counts.sum(axis=1) - intersection
    iou = np.full_like(intersection, np.nan)
    np.divide(intersection, union, out=iou, where=union > 0)
    return iou


def mouth_agreement(opening: NDArray[np.float64], truth: NDArray[np.float64]) -> float | None:
    """Return how well the mouth opens when it should: Pearson's r of two curves; higher is better.

    A mouth that stays shut, or opens at the wrong times, has no agreement however sharp its picture
    is.

    Args:
        opening: Pixels of mouth interior in each rendered frame. Shape (frames,).
        truth: The same of the true frames. Shape (frames,).

    Returns:
        In [-1, 1]; None where a curve does not move or has fewer than three frames.

    Example:
        >>> mouth_agreement(np.array([0.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
        1.0
    """
    if len(truth) < 3 or np.ptp(opening) == 0 or np.ptp(truth) == 0:
        return None
    return round(float(np.corrcoef(opening, truth)[0, 1]), 6)
