"""Where the error lies: PSNR inside parts of the portrait, as the frames' true labels show them.

A region's squared error is pooled over all its pixels of all frames before it becomes decibels. A
mean of the frames' decibels would count a frame with ten visible pixels of teeth as much as one
with a thousand.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sspnerf.data.semantics import BODY_CLASSES, MOUTH_CLASSES, SemanticClass
from sspnerf.evaluate.metrics import PSNR_MAX_DB

# Half the width of the bands around the head's border and the silhouette, part of the picture's
# height; at 48 px it would be 1.4 px, where a band has no middle any more.
BAND_SHARE = 0.03
BAND_MIN_PX = 2.0

Mask = NDArray[np.bool_]
Region = Callable[[NDArray[np.uint8]], Mask]


def lips_and_teeth(labels: NDArray[np.uint8]) -> Mask:
    """Mark lips and mouth interior. Shape (height, width)."""
    return np.isin(labels, MOUTH_CLASSES)


def neck_and_torso(labels: NDArray[np.uint8]) -> Mask:
    """Mark neck and torso. Shape (height, width)."""
    return np.isin(labels, BODY_CLASSES)


def head_border(labels: NDArray[np.uint8]) -> Mask:
    """Mark the band where head and body meet: two fields rendered apart show their seam here.

    Person pixels that lie within 3 % of the picture's height, and at least 2 px, of the head (all
    person classes but neck and torso, so hair counts too) and of neck and torso.

    Args:
        labels: `SemanticClass` values. Shape (height, width).

    Returns:
        True inside the band; all False where head or body is not in the picture. Shape (height,
        width).
    """
    person, body = labels != SemanticClass.BACKGROUND, neck_and_torso(labels)
    reach = _band_px(labels)
    band: Mask = person & _within(person & ~body, reach) & _within(body, reach)
    return band


def silhouette(labels: NDArray[np.uint8]) -> Mask:
    """Mark the band, as wide as `head_border`, on both sides of the person's outline."""
    person, reach = labels != SemanticClass.BACKGROUND, _band_px(labels)
    return _within(person, reach) & _within(~person, reach)


REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        "lips": lips_and_teeth,
        "torso": neck_and_torso,
        "border": head_border,
        "silhouette": silhouette,
    }
)


class RegionErrors:
    """Sums up squared errors of all regions, frame by frame."""

    def __init__(self) -> None:
        self._sum = dict.fromkeys(REGIONS, 0.0)
        self._values = dict.fromkeys(REGIONS, 0)

    def add(
        self,
        picture: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        true_labels: NDArray[np.uint8],
    ) -> None:
        """Add one frame.

        Args:
            picture: As rendered, RGB. Shape (height, width, 3).
            truth: As filmed. Shape (height, width, 3).
            true_labels: `SemanticClass` of the filmed frame. Shape (height, width).
        """
        error = np.square(picture.astype(np.float64) - truth)
        for name, region in REGIONS.items():
            inside = error[region(true_labels)]
            self._sum[name] += float(inside.sum())
            self._values[name] += inside.size

    def psnr(self) -> dict[str, float | None]:
        """Return PSNR by region, dB, higher is better, at most 60; None if it was never seen."""
        return {name: _decibels(self._sum[name], self._values[name]) for name in REGIONS}


def _decibels(squared_error: float, values: int) -> float | None:
    if not values:
        return None
    if not squared_error:
        return PSNR_MAX_DB
    return min(PSNR_MAX_DB, 10 * math.log10(255**2 * values / squared_error))


def _band_px(labels: NDArray[np.uint8]) -> float:
    return max(BAND_MIN_PX, BAND_SHARE * len(labels))


def _within(mask: Mask, reach: float) -> Mask:
    """Mark what is no further than `reach` px from the mask, itself included."""
    if not mask.any():
        return mask
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~mask)
    return distance <= reach
