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
# The table of distances: bits of each color channel, and steps of a standard deviation.
TABLE_BITS = 6
TABLE_SCALE = 16


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
    table: NDArray[np.uint8]
    """Both distances of every color, `TABLE_SCALE` a standard deviation. Shape (colors, 2)."""

    def distances(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tell both distances at once, from a table of coarse colors: ten times as fast.

        Args:
            picture: RGB. Shape (height, width, 3).

        Returns:
            By color and in shade, `TABLE_SCALE` a standard deviation, 255 = that or more. Shape
            (height, width, 2).
        """
        drop = 8 - TABLE_BITS
        red, green, blue = (np.asarray(plane, np.uint8) for plane in cv2.split(picture))
        index = (red >> drop).astype(np.int32)
        index = index << TABLE_BITS | green >> drop
        index = index << TABLE_BITS | blue >> drop
        # Both distances are taken at once, as one number of 16 bits.
        both = self.table.view(np.uint16)[:, 0].take(index)
        return np.asarray(both.view(np.uint8).reshape(*index.shape, 2))

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
        shade = self.chromaticity.distance(_chromaticity(picture))
        # Shade is darker than skin in light. What is lighter has to have skin's very color: next to
        # skin, coarse coding of color paints white collars with its hue.
        lightness = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0]
        is_lit = lightness > self.color.mean[0]
        return np.where(is_lit, np.maximum(shade, self.distance(picture)), shade)


def fit_skin_color(samples: NDArray[np.uint8]) -> SkinColor:
    """Learn the skin's color from pixels of the face.

    Args:
        samples: RGB. Shape (pixels, 3), at least 1.

    Returns:
        Their mean and spread; highlights and lashes among them are left out.
    """
    row = np.ascontiguousarray(samples)[None]
    lab = cv2.cvtColor(row, cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    color = _fit(lab, noise=np.full(3, COLOR_NOISE), widen=np.array([SHADE, 1.0, 1.0]))
    chromaticity = _fit(
        _chromaticity(row)[0].astype(np.float64),
        noise=np.full(2, CHROMATICITY_NOISE),
        widen=np.ones(2),
    )
    exact = SkinColor(color, chromaticity, np.zeros((0, 2), dtype=np.uint8))
    return exact._replace(table=_table(exact))


def _table(skin: SkinColor) -> NDArray[np.uint8]:
    """Distances of the middle of every coarse color. Shape (colors, 2)."""
    width = 256 >> TABLE_BITS
    levels = np.arange(width // 2, 256, width, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    row = np.ascontiguousarray(colors.reshape(1, -1, 3))
    both = np.stack((skin.distance(row)[0], skin.distance_in_shade(row)[0]), axis=-1)
    return np.minimum(np.round(both * TABLE_SCALE), 255).astype(np.uint8)


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
