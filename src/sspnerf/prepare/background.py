"""The background plate: what the camera sees behind the person.

The camera stands still, so each pixel of the plate is the median of the frames in which it
certainly shows background. A plate that holds the person's blur would let the field stay
transparent, so what is near the person does not count; what is never seen is filled smoothly from
around.
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
# So far from the network's silhouette its error is looked for, as a share of the side.
EDGE_REACH = 0.015
# Differences from the plate (of 255): below the first noise and shadow, above the second the
# person.
DIFFERENT = (12.0, 32.0)
# At this share of the contrast around it a pixel counts as person alone.
FULL_SHARE = 1.0


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


def complete_silhouette(
    picture: NDArray[np.uint8], mask: NDArray[np.uint8], plate: Plate
) -> NDArray[np.uint8]:
    """Add to the mask what is no background although the network took it for some.

    The network drops strands of hair and rounds off what sticks out. Close to its edge, and where
    the plate is known, a pixel is as much person as it differs from the plate. Nothing is taken
    away: a person may have the background's color.

    Args:
        picture: RGB. Shape (height, width, 3).
        mask: 255 = certainly person. Shape (height, width).
        plate: Of the same camera.

    Returns:
        The mask, nowhere smaller. Shape (height, width).
    """
    reach = max(1, round(EDGE_REACH * mask.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    near = (cv2.dilate(mask, kernel) > 127) & plate.seen
    red, green, blue = cv2.split(cv2.absdiff(picture, plate.picture))
    change = cv2.GaussianBlur(cv2.max(cv2.max(red, green), blue), (3, 3), 0).astype(np.float32)
    # A pixel is as much person as it differs, compared with the most different one around it: at
    # half the contrast the outline runs through its middle.
    low, least = DIFFERENT
    contrast = np.maximum(cv2.dilate(change, kernel) * FULL_SHARE, least)
    evidence = np.clip((change - low) / (contrast - low), 0, 1) * 255
    return np.where(near, np.maximum(mask, evidence.astype(np.uint8)), mask)


def _certain_background(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    reach = max(1, round(MARGIN * mask.shape[0]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask, kernel) < CERTAIN)


def _masked_median(values: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median over the first axis of what is marked; 0 where nothing is. Shape (rows, width, 3)."""
    ordered = np.where(mask[..., None], values, np.int16(999)).astype(np.int16)
    ordered.sort(axis=0)
    count = mask.sum(axis=0)[None, ..., None]
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1), axis=0)[0]
    median = (low.astype(np.float32) + high) / 2
    return np.where(count[0] > 0, median, 0).astype(np.float32)


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
