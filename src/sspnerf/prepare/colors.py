"""The colors of a clip's skin and clothes, learned from the clip itself.

Colors are compared in OpenCV's 8-bit CIE Lab.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

# Neck and ears lie in shade more often than the face: brightness tells less than hue.
SHADE = 3.0
# Histogram bins along each of L, a, b, and how far a color speaks for its neighbours, in bins.
BINS = 32
BIN_BLUR = 1.0
# A color that was never seen is as likely as this share of all pixels spread over all bins.
UNSEEN_SHARE = 0.05


class SkinColor(NamedTuple):
    """The color of the face's skin through the clip."""

    mean: NDArray[np.float64]
    """Shape (3,)."""
    whitening: NDArray[np.float64]
    """Turns a difference of colors into standard deviations. Shape (3, 3)."""

    def distance(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell how unlike skin each pixel is.

        Args:
            picture: RGB. Shape (height, width, 3).

        Returns:
            Standard deviations. Shape (height, width).
        """
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
        shift = -(self.whitening @ self.mean)[:, None]
        deviation = cv2.transform(lab, np.concatenate((self.whitening, shift), axis=1))
        return np.asarray(np.sqrt(np.einsum("...c,...c", deviation, deviation)))


def fit_skin_color(samples: NDArray[np.uint8]) -> SkinColor:
    """Learn the skin's color from pixels of the face.

    Args:
        samples: RGB. Shape (pixels, 3).

    Returns:
        Their mean and spread; highlights and lashes among them are left out.
    """
    lab = cv2.cvtColor(samples[None], cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    middle = np.median(lab, axis=0)
    spread = 1.4826 * np.median(np.abs(lab - middle), axis=0) + 1
    kept = lab[(np.abs(lab - middle) < 2.5 * spread).all(axis=1)]
    # Two grey levels of noise keep a flat color from refusing everything else.
    covariance = np.cov(kept.T) + 4 * np.eye(3)
    shade = np.diag([SHADE, 1.0, 1.0])
    values, vectors = np.linalg.eigh(shade @ covariance @ shade)
    return SkinColor(kept.mean(axis=0), vectors.T / np.sqrt(values)[:, None])


class ColorContrast(NamedTuple):
    """Which of two things a color belongs to: log of p(color | first) / p(color | second)."""

    log_ratio: NDArray[np.float32]
    """Per bin of L, a, b. Shape (32, 32, 32)."""

    def of(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell for each pixel how much its color speaks for the first thing.

        Args:
            picture: RGB. Shape (height, width, 3).

        Returns:
            Natural logarithm of the ratio of likelihoods. Shape (height, width).
        """
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB) // (256 // BINS)
        return self.log_ratio[lab[..., 0], lab[..., 1], lab[..., 2]]


def fit_color_contrast(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> ColorContrast:
    """Learn to tell two things apart by color.

    Args:
        first: RGB pixels of the first. Shape (pixels, 3); may be empty.
        second: RGB pixels of the second. Shape (pixels, 3); may be empty.

    Returns:
        Their contrast; 0 for a color that neither has shown.
    """
    return ColorContrast(np.log(_histogram(first)) - np.log(_histogram(second)))


def _histogram(samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Smoothed share of each color; positive, sums to 1 within rounding."""
    counts = np.zeros((BINS, BINS, BINS), dtype=np.float32)
    if len(samples):
        lab = cv2.cvtColor(np.ascontiguousarray(samples)[None], cv2.COLOR_RGB2LAB)
        ranges = [0, 256] * 3
        counts = cv2.calcHist([lab], [0, 1, 2], None, [BINS] * 3, ranges).astype(np.float32)
        counts = gaussian_filter(counts, BIN_BLUR) / len(samples)
    return np.asarray((1 - UNSEEN_SHARE) * counts + UNSEEN_SHARE / BINS**3, dtype=np.float32)
