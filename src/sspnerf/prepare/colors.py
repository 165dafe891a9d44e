"""The color of a clip's skin, learned from the face itself.

Two ways to compare a pixel with it: by color, in OpenCV's 8-bit CIE Lab, which tells skin from
hair; and by chromaticity r = R / (R + G + B), g = G / (R + G + B), which shade does not change, so
that a neck in the chin's shadow is found.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Ears and temples lie in shade more often than the face: brightness tells less than hue.
SHADE = 3.0
# Noise of 8-bit colors and of chromaticities, standard deviations: a flat color accepts so much
# more.
COLOR_NOISE = 2.0
CHROMATICITY_NOISE = 0.008
# Colors darker than this (sum of R, G and B, 0 to 765) have no chromaticity to speak of.
DARKEST = 60


class _Gaussian(NamedTuple):
    mean: NDArray[np.float64]
    """Shape (channels,)."""
    whitening: NDArray[np.float64]
    """Turns a difference into standard deviations. Shape (channels, channels)."""

    def distance(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standard deviations from the mean. Shape (height, width, channels) -> (height, width)."""
        shift = -(self.whitening @ self.mean)[:, None]
        deviation = cv2.transform(values, np.concatenate((self.whitening, shift), axis=1))
        return np.asarray(np.sqrt(np.einsum("...c,...c", deviation, deviation)))


class SkinColor(NamedTuple):
    """What the skin of the face looks like through the clip."""

    color: _Gaussian
    chromaticity: _Gaussian

    def distance(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell how unlike the face's skin each pixel is.

        Args:
            picture: RGB. Shape (height, width, 3).

        Returns:
            Standard deviations. Shape (height, width).
        """
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
        return self.color.distance(lab.astype(np.float32))

    def distance_in_shade(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell how unlike the face's skin in any light each pixel is.

        Args:
            picture: RGB. Shape (height, width, 3).

        Returns:
            Standard deviations. Shape (height, width).
        """
        return self.chromaticity.distance(_chromaticity(picture))


def fit_skin_color(samples: NDArray[np.uint8]) -> SkinColor:
    """Learn the skin's color from pixels of the face.

    Args:
        samples: RGB. Shape (pixels, 3), at least 1.

    Returns:
        Their mean and spread; highlights and lashes among them are left out.
    """
    row = np.ascontiguousarray(samples)[None]
    lab = cv2.cvtColor(row, cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    return SkinColor(
        _fit(lab, noise=np.full(3, COLOR_NOISE), widen=np.array([SHADE, 1.0, 1.0])),
        _fit(
            _chromaticity(row)[0].astype(np.float64),
            noise=np.full(2, CHROMATICITY_NOISE),
            widen=np.ones(2),
        ),
    )


def _chromaticity(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Chromaticities r and g. Shape (height, width, 3) -> (height, width, 2)."""
    color = picture.astype(np.float32)
    total = np.maximum(color.sum(axis=-1, keepdims=True), DARKEST)
    return np.asarray(color[..., :2] / total)


def _fit(
    values: NDArray[np.float64], *, noise: NDArray[np.float64], widen: NDArray[np.float64]
) -> _Gaussian:
    """Fit a normal distribution to what lies near the median. Shape (pixels, channels)."""
    middle = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=0) + noise / 2
    kept = values[(np.abs(values - middle) < 2.5 * spread).all(axis=1)]
    centered = kept - kept.mean(axis=0)
    covariance = centered.T @ centered / len(kept) + np.diag(noise**2)
    variances, directions = np.linalg.eigh(np.diag(widen) @ covariance @ np.diag(widen))
    return _Gaussian(kept.mean(axis=0), directions.T / np.sqrt(variances)[:, None])
