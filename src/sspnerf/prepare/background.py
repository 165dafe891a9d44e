"""The background plate: what the camera sees behind the person.

The camera stands still, so each pixel of the plate is the median of the frames in which it
certainly shows background. A plate that holds the person's blur would let the field stay
transparent, so what is near the person does not count; what is never seen is filled smoothly from
around.

The plate then tells the person's edge to a fraction of a pixel. A pixel there mixes the person's
color F with the background's B: I = a F + (1 - a) B. F is the mean of what is certainly person
around it, B the plate or, where that is not known, the mean of what is certainly background; the
share a of the person is then a quotient of color differences. It is believed as far as F and B
differ by more than they vary themselves.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Frames that the median is taken over, at most.
SAMPLE_FRAMES = 120
# Masks below this are background, once they are grown by a share of the picture's side.
CERTAIN = 24
MARGIN = 0.02
# A pixel counts as seen if so many of the sampled frames show it.
ENOUGH = 0.08
ROWS_AT_ONCE = 32
# So far from the network's silhouette its error is looked for, and so far it is fully believed to
# lie, as shares of the side.
EDGE_REACH, EDGE_CORE = 0.0176, 0.0098
# Colors around a pixel are averaged at a quarter of the size, over so many pixels there either way.
SHRINK, AROUND = 4, 2
# Noise of a color, of 255; differences from the plate below twice that are none.
NOISE = 6.0
# Contrasts, as variances of the colors involved: from the first on the colors count, and from the
# second on alone.
CONTRAST = (0.75, 3.75)
# A plate that differs by more than this (of 255), over more than this share of the background, is
# another scene's and tells nothing; pictures are compared at so many times less than their side.
DIFFERENT, ANOTHER_SCENE, FAR_SHRINK = 24, 0.4, 8
# A mask lower than 1 by 1 / this is as open to doubt as any.
DOUBT = 6.0
# Less certain person or background around a pixel, as a share of the window, tells nothing.
LEAST_AROUND = 0.02


def spread_evenly(frames: int, most: int) -> NDArray[np.int64]:
    """Choose frames spread evenly over a clip.

    Args:
        frames: How many there are, at least 1.
        most: How many to choose at most.

    Returns:
        Indices, growing, without repetition.

    Example:
        >>> spread_evenly(10, 3)
        array([1, 5, 8])
    """
    count = min(frames, most)
    return np.asarray(((np.arange(count) + 0.5) * frames / count).astype(np.int64))


class Plate(NamedTuple):
    """The background, and where it is known."""

    picture: NDArray[np.uint8]
    """RGB. Shape (height, width, 3)."""
    seen: NDArray[np.bool_]
    """False where the person always stood in front: filled in. Shape (height, width)."""


def background_plate(frames: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Plate:
    """See behind the person.

    Memory: 120 frames of the masks and 32 rows of the pictures at once.

    Args:
        frames: RGB, read where needed (a memory map). Shape (frames, height, width, 3).
        mask: 255 = certainly person. Shape (frames, height, width).

    Returns:
        The plate.
    """
    chosen = spread_evenly(len(frames), SAMPLE_FRAMES)
    is_background = np.stack([_certain_background(mask[index]) for index in chosen])
    plate = np.zeros(frames.shape[1:], dtype=np.float32)
    for top in range(0, frames.shape[1], ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        shown = np.stack([frames[index, rows] for index in chosen])
        plate[rows] = _masked_median(shown, is_background[:, rows])
    seen = is_background.sum(axis=0) >= max(1, ENOUGH * len(chosen))
    return Plate(np.clip(np.round(fill_smoothly(plate, seen)), 0, 255).astype(np.uint8), seen)


class _Band(NamedTuple):
    """The pixels near the silhouette."""

    at: NDArray[np.intp]
    """Places in the flattened picture. Shape (pixels,)."""
    inward: NDArray[np.float32]
    """Distance from a straight silhouette, px, positive inside. Shape (pixels,)."""
    near: NDArray[np.uint8]
    """255 well inside, 0 well outside. Shape (height, width)."""


class _Around(NamedTuple):
    """The colors around the pixels of a band."""

    color: NDArray[np.float32]
    """Mean. Shape (pixels, 3)."""
    variance: NDArray[np.float32]
    """Summed over channels. Shape (pixels,)."""
    known: NDArray[np.bool_]
    """Shape (pixels,)."""


def plate_mismatch(picture: NDArray[np.uint8], mask: NDArray[np.uint8], plate: Plate) -> float:
    """Tell how much of a frame's background is not what the plate shows.

    Near 1 after a cut to another place, when the camera moved, or in a flash of light.

    Args:
        picture: RGB. Shape (side, side, 3).
        mask: 255 = certainly person. Shape (side, side).
        plate: Of the same side.

    Returns:
        Share of the certain background that differs clearly, [0, 1]; 0 if there is none.
    """
    size = (max(1, mask.shape[1] // FAR_SHRINK), max(1, mask.shape[0] // FAR_SHRINK))
    here, there, person, seen = (
        cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
        for shown in (picture, plate.picture, mask, plate.seen.view(np.uint8) * np.uint8(255))
    )
    sure = (person == 0) & (seen == 255)
    if not sure.any():
        return 0.0
    return float((cv2.absdiff(here, there).max(axis=-1)[sure] > DIFFERENT).mean())


def complete_silhouette(
    picture: NDArray[np.uint8], mask: NDArray[np.uint8], plate: Plate
) -> NDArray[np.uint8]:
    """Put the mask's edge where colors change from the person's to the background's.

    The network drops strands of hair, rounds off what sticks out and takes background along; all
    of that is put right within `EDGE_REACH` of its edge, where colors tell. A frame whose
    background is not the plate's (a flash, another scene) is judged by its own colors alone.

    Args:
        picture: RGB. Shape (side, side, 3).
        mask: 255 = certainly person. Shape (side, side).
        plate: Of the same camera.

    Returns:
        The mask. Shape (side, side).
    """
    side = mask.shape[0]
    reach, core = max(2, round(EDGE_REACH * side)), max(1.0, EDGE_CORE * side)
    band = _band(mask, reach)
    if not len(band.at):
        return mask
    person, behind = _colors_around(picture, band, core / (2 * reach + 1))
    seen = plate.seen.ravel()[band.at]
    if plate_mismatch(picture, mask, plate) > ANOTHER_SCENE:
        seen = np.zeros_like(seen)
    known = plate.picture.reshape(-1, 3)[band.at]
    background = np.where(seen[:, None], known, behind.color).astype(np.float32)
    given = picture.reshape(-1, 3)[band.at].astype(np.float32) - background
    share, belief = _mixture(given, person.color - background, person, behind, seen)
    belief *= np.clip((reach - np.abs(band.inward)) / (reach - core), 0, 1)
    before = mask.ravel()[band.at].astype(np.float32)
    # The network's veil over what is plainly the plate.
    belief[seen & (before < 128) & (share == 0)] = 1
    change = belief * (255 * share - before)
    # Color alone takes nothing of which the network is sure: a person has the background's colors.
    doubt = np.clip(DOUBT * (255 - before) / 255, 0, 1)
    completed = mask.copy()
    completed.ravel()[band.at] = np.round(before + np.where(change < 0, doubt, 1) * change)
    # Nor small holes: edges survive a median.
    kept = np.minimum(mask, cv2.medianBlur(completed, 5))
    return np.asarray(np.maximum(completed, kept))


def _certain_background(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    reach = max(1, round(MARGIN * mask.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask, kernel) < CERTAIN)


def _masked_median(values: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median over the first axis of what is marked; 0 where nothing is. Shape (rows, width, 3)."""
    marked = np.where(mask[..., None], values, np.int16(999)).astype(np.int16)
    # Sorting along neighbours in memory is faster.
    ordered = np.sort(np.ascontiguousarray(np.moveaxis(marked, 0, -1)), axis=-1)
    count = mask.sum(axis=0)[..., None, None]
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)[..., 0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1), axis=-1)[..., 0]
    median = (low.astype(np.float32) + high) / 2
    return np.where(count[..., 0] > 0, median, 0).astype(np.float32)


def fill_smoothly(picture: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill holes from their surroundings, the smoother the deeper inside (pull-push pyramid).

    Args:
        picture: Any range. Shape (height, width, channels).
        known: Where it counts. Shape (height, width).

    Returns:
        The picture, unchanged where known; its mean color is not touched by what is unknown.
    """
    levels: list[tuple[Any, Any]] = [(picture * known[..., None], known.astype(np.float32))]
    while min(levels[-1][1].shape) > 1 and not (levels[-1][1] > 0.5).all():
        levels.append(_halve(*levels[-1]))
    filled = _normalised(*levels[-1])
    for color, weight in reversed(levels[:-1]):
        size = (weight.shape[1], weight.shape[0])
        coarse = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR)
        share = np.clip(weight, 0, 1)[..., None]
        filled = _normalised(color, weight) * share + coarse * (1 - share)
    return np.asarray(filled, dtype=np.float32)


def _halve(
    color: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    size = (max(1, weight.shape[1] // 2), max(1, weight.shape[0] // 2))
    halves: Sequence[Any] = [
        cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (color, weight)
    ]
    # A coarse pixel that is half known is fully known: its mean comes from what is.
    gain = np.minimum(2.0, 1 / np.maximum(halves[1], 0.25))
    return halves[0] * gain[..., None], halves[1] * gain


def _normalised(color: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(color / np.maximum(weight, 1e-6)[..., None])


def _mixture(
    given: NDArray[np.float32],
    whole: NDArray[np.float32],
    person: _Around,
    behind: _Around,
    seen: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much person is in each pixel of a band, and how far colors can tell.

    Args:
        given: The pixel's color, from the background's. Shape (pixels, 3).
        whole: The person's color, from the background's. Shape (pixels, 3).
        person: The person around the pixel.
        behind: The background around the pixel.
        seen: Whether the background comes from the plate. Shape (pixels,).

    Returns:
        Share and belief, [0, 1]. Shape (pixels,) each.
    """
    contrast, power = _dot(whole, whole) + np.float32(1e-3), _dot(given, given)
    projected = _dot(given, whole) / contrast
    # Before a known background whatever differs is person, whatever its color.
    differs = np.sqrt(np.maximum(power - NOISE**2, 0) / contrast)
    share = np.clip(np.where(seen, differs, projected), 0, 1)
    # What no mixture of the two explains is neither.
    unlike = np.maximum(power - projected**2 * contrast, 0)
    variance = person.variance + 3 * NOISE**2 + np.where(seen, 0, behind.variance + unlike)
    low, high = CONTRAST
    belief = np.clip((contrast / variance - low) / (high - low), 0, 1)
    belief *= person.known & (seen | behind.known)
    return share.astype(np.float32), belief.astype(np.float32)


def _band(mask: NDArray[np.uint8], reach: int) -> _Band:
    width = 2 * reach + 1
    hard = cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)[1]
    near = np.asarray(cv2.blur(hard, (width, width)), dtype=np.uint8)
    # 1 to 254, in one comparison: 0 wraps around.
    veil = (mask - np.uint8(1)) < 127
    index = np.flatnonzero(((near - np.uint8(1)) < 254) | veil)
    inward = (near.ravel()[index].astype(np.float32) / 255 - np.float32(0.5)) * width
    return _Band(index, inward.astype(np.float32), near)


def _colors_around(
    picture: NDArray[np.uint8], band: _Band, margin: float
) -> tuple[_Around, _Around]:
    """Colors of certain person and of certain background around each pixel of the band.

    Args:
        picture: RGB. Shape (side, side, 3).
        band: Its pixels.
        margin: So far from half-way `near` is certain, as a share.
    """
    side = picture.shape[0]
    size = (max(1, side // SHRINK),) * 2
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    power = cv2.transform(small * small, np.ones((1, 3), dtype=np.float32))
    near = cv2.resize(band.near, size, interpolation=cv2.INTER_AREA)
    places = _places(band.at, side, size[0] / side)
    found = []
    depth = (near.astype(np.float32) / 255 - np.float32(0.5)) / np.float32(margin)
    for inside in (depth, -depth):
        # Steps in the weights would show along the edge.
        weight = np.clip(2 * inside - 1, 0, 1)
        window = (2 * AROUND + 1, 2 * AROUND + 1)
        amount = cv2.boxFilter(weight, -1, window)
        sums = cv2.boxFilter(
            cv2.merge([*cv2.split(small * weight[..., None]), power * weight]), -1, window
        )
        means = sums / np.maximum(amount, np.float32(1e-4))[..., None]
        means[..., 3] -= np.einsum("...c,...c", means[..., :3], means[..., :3])
        around = _at(means, places, len(band.at))
        known = _at(np.asarray(amount), places, len(band.at))[:, 0] > LEAST_AROUND
        found.append(_Around(around[:, :3], np.maximum(around[:, 3], 0), known))
    return found[0], found[1]


# OpenCV resamples maps of at most 32767 rows.
_ROW = 256


def _places(index: NDArray[np.intp], side: int, scale: float) -> NDArray[np.float32]:
    """Where pixels lie in a smaller picture (OpenCV's numbering), in rows. Shape (rows, 256, 2)."""
    padded = np.resize(index, -(-len(index) // _ROW) * _ROW).astype(np.int32)
    y, x = np.divmod(padded, np.int32(side))
    places = (np.stack((x, y), axis=-1).astype(np.float32) + np.float32(0.5)) * np.float32(scale)
    return (places - np.float32(0.5)).reshape(-1, _ROW, 2)


def _at(picture: NDArray[Any], places: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Bilinear values at the first `count` places. Shape (count, channels)."""
    x, y = places[..., 0], places[..., 1]
    values = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, dtype=np.float32).reshape(places.shape[0] * _ROW, -1)[:count]


def _dot(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.einsum("nc,nc->n", first, second))
