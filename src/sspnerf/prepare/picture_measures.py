"""What single pictures tell: the light on the face, the camera, something before the face.

Pictures are looked at small; a few dozen of a clip are enough for what lasts.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sspnerf.data.semantics import SemanticClass

# Backgrounds are compared in pictures of this side, px, and first in smaller ones.
BACKGROUND_SIDE = 128
_LEVELS = 3
_STEPS, _SMALL_STEP = 5, 0.02
# No background is found further away, px of 128.
FARTHEST = BACKGROUND_SIDE / 4
# A mask below this, of 255, is surely background.
_NOBODY = 13
# Of the picture must be background, to say anything.
LEAST_BACKGROUND = 0.04
# Gray levels by which a pixel may be off and still count fully.
_NOISE = 3.0
# The shift of a background without texture is not known: its error must be below this, px of 128.
_KNOWN_SHIFT = 0.1
# Variance of gray levels by rounding and coding; and how much larger than what is left the squared
# slopes must be in all directions: noise has slopes of a tenth of it.
_ROUNDING, _TEXTURE = 0.25, 0.3
# A face is looked at in a patch of this side, from brows to chin, cut in parts; px.
PATCH_SIDE, PART_SIDE = 32, 8
# MediaPipe's outer corners of the eyes and chin, and where they lie in the patch.
_CORNERS = (33, 263, 152)
_PLACES = np.array([[4.0, 6.0], [28.0, 6.0], [16.0, 31.0]], np.float32)
# So many patches show how a face usually looks.
ENOUGH_PATCHES = 120
# Parts of calm faces differ by at least so many levels of 255 from what they were at other times.
_LEAST_DISTANCE = 3.0


class FaceLight(NamedTuple):
    """How the face is lit in one picture."""

    level: float
    """Mean gray of the skin, of 255."""
    burnt: float
    """Share of the skin that is white."""


class Background(NamedTuple):
    """How the background of one picture differs from that of another."""

    shift: float
    """By how much it lies elsewhere, as a share of the picture's side; NaN where that cannot be
    told."""
    light: float
    """How much lighter it is, as a share; NaN where it cannot be told."""
    change: float
    """What neither explains: mean difference, levels of 255; NaN where nothing can be told."""


class SmallPicture(NamedTuple):
    """A picture without the person, small."""

    gray: NDArray[np.float32]
    """Shape (128, 128)."""
    empty: NDArray[np.bool_]
    """Where surely nobody is. Shape (128, 128)."""


def face_light(picture: NDArray[np.uint8], labels: NDArray[np.uint8]) -> FaceLight | None:
    """Measure the light on the skin of a face.

    Args:
        picture: RGB. Shape (height, width, 3).
        labels: `SemanticClass` values. Shape (height, width).

    Returns:
        None if no skin is seen.
    """
    step = max(1, picture.shape[0] // 256)
    skin = np.asarray(labels[::step, ::step]) == SemanticClass.SKIN
    if not skin.any():
        return None
    thin = np.ascontiguousarray(picture[::step, ::step])
    gray = cv2.cvtColor(thin, cv2.COLOR_RGB2GRAY)[skin]
    return FaceLight(float(gray.mean()), float((gray >= 250).mean()))


def small_background(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> SmallPicture:
    """Shrink a picture to what `compare_backgrounds` looks at.

    Args:
        picture: RGB, square. Shape (side, side, 3).
        mask: 255 = certainly person. Shape (side, side).
    """
    side = (BACKGROUND_SIDE, BACKGROUND_SIDE)
    small = cv2.resize(picture, side, interpolation=cv2.INTER_AREA)
    person = cv2.resize(mask, side, interpolation=cv2.INTER_AREA)
    # A shadow beside the person, and hair that the mask misses, are no background.
    near = cv2.dilate((person > _NOBODY).astype(np.uint8), np.ones((7, 7), np.uint8))
    return SmallPicture(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), near == 0)


def compare_backgrounds(first: SmallPicture, second: SmallPicture) -> Background:
    """Say how a background has moved and how its light has changed.

    Least squares for a shift, a gain and an offset of the gray levels, from coarse to fine.

    Args:
        first: What to compare with.
        second: Later, or earlier.
    """
    empty = first.empty & second.empty
    if empty.mean() < LEAST_BACKGROUND:
        return Background(np.nan, np.nan, np.nan)
    shift: NDArray[np.float64] = np.zeros(2)
    fit = _Fit(np.array([1.0, 0.0]), np.zeros(2), np.inf, np.inf)
    for level in range(_LEVELS - 1, -1, -1):
        scale = 2**level
        seen = [_halved(picture.gray, level) for picture in (first, second)]
        where = _halved(empty.astype(np.float32), level) > 0.99
        if where.sum() < 64:
            continue
        for _ in range(_STEPS):
            fit = _fit_shift(seen[0], seen[1], where, shift / scale)
            shift = np.clip(shift + np.clip(fit.step, -4, 4) * scale, -FARTHEST, FARTHEST)
            if np.abs(fit.step).max() < _SMALL_STEP:
                break
    mean = float(first.gray[empty].mean())
    gain, offset = fit.light
    light = (gain * mean + offset) / max(mean, 1.0) - 1
    known = fit.error < _KNOWN_SHIFT
    moved = float(np.hypot(*shift)) / BACKGROUND_SIDE
    return Background(moved if known else np.nan, float(light), fit.change)


class _Fit(NamedTuple):
    light: NDArray[np.float64]
    step: NDArray[np.float64]
    error: float
    change: float


def _fit_shift(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    where: NDArray[np.bool_],
    shift: NDArray[np.float64],
) -> _Fit:
    """One Gauss-Newton step: second(x + shift) = gain * first(x) + offset, robustly."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        second, matrix, second.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    border = int(np.ceil(np.abs(shift).max())) + 1
    inside = np.zeros_like(where)
    inside[border:-border, border:-border] = where[border:-border, border:-border]
    if inside.sum() < 32:
        return _Fit(np.array([1.0, 0.0]), np.zeros(2), np.inf, np.inf)
    slopes = [cv2.Sobel(moved, cv2.CV_32F, *d, scale=1 / 8)[inside] for d in ((1, 0), (0, 1))]
    known = first[inside].astype(np.float64)
    rows = np.stack((known, np.ones_like(known), -slopes[0], -slopes[1]), axis=1)
    target = moved[inside].astype(np.float64)
    weight = np.ones_like(target)
    answer: NDArray[Any] = np.zeros(4)
    left = target
    for _ in range(2):
        normal = rows.T @ (weight[:, None] * rows) + np.diag([1e-6, 1e-6, 1e-3, 1e-3])
        answer = np.linalg.solve(normal, rows.T @ (weight * target))
        left = target - rows @ answer
        usual = max(_NOISE, 1.5 * float(np.median(np.abs(left))))
        weight = 1 / (1 + np.square(left / usual))
    variance = float((weight * left**2).sum() / weight.sum()) + _ROUNDING
    # Neighbouring pixels err alike: five of them count as one.
    spread = np.sqrt(5 * variance * np.diag(np.linalg.inv(normal))[2:].max())
    texture = np.linalg.eigvalsh(normal[2:, 2:])[0] / weight.sum()
    if texture < _TEXTURE * variance:
        spread = np.inf
    return _Fit(answer[:2], answer[2:], float(spread), float(np.abs(left).mean()))


def _halved(values: NDArray[np.float32], level: int) -> NDArray[np.float32]:
    side = BACKGROUND_SIDE >> level
    return np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def face_patch(picture: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cut the face out, always the same way up and the same size.

    Args:
        picture: RGB. Shape (height, width, 3).
        landmarks: x and y in px first. Shape (478, 2 or more).

    Returns:
        RGB levels of 255, blurred. Shape (PATCH_SIDE, PATCH_SIDE, 3).
    """
    places = np.asarray(landmarks, np.float32)[list(_CORNERS), :2] - np.float32(0.5)
    # Twice as large first: the blur then sees pixels that would be stepped over.
    matrix = cv2.getAffineTransform(places, 2 * _PLACES)
    size = (2 * PATCH_SIDE, 2 * PATCH_SIDE)
    large = cv2.warpAffine(
        picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    blurred = cv2.GaussianBlur(large, (0, 0), 1.5)
    return np.ascontiguousarray(blurred[::2, ::2]).astype(np.float32)


def strangeness(patches: NDArray[np.float32], *, near: int) -> NDArray[np.float64]:
    """Say how much a face looks as it does at no other time: something may be before it.

    A face that speaks and turns comes back to how it looked; part of it under a hand does not.

    Args:
        patches: From `face_patch`. Shape (pictures, PATCH_SIDE, PATCH_SIDE, 3).
        near: So many pictures before and after are no other time.

    Returns:
        Distance to the most similar other picture, of the part of the face that is the third
        strangest, in units of what is usual there; 0 where there is too little to compare.
        Shape (pictures,).
    """
    count, parts = len(patches), PATCH_SIDE // PART_SIDE
    if count < max(ENOUGH_PATCHES, 4 * near):
        return np.zeros(count)
    # A change of light is no hand: each picture's own median color counts as none.
    colors = patches - np.median(patches, axis=(1, 2), keepdims=True)
    cells = colors.reshape(count, parts, PART_SIDE, parts, PART_SIDE, 3).swapaxes(2, 3)
    index = np.arange(count)
    close = np.abs(index[:, None] - index) <= near
    distance = np.zeros((parts * parts, count))
    for place, part in enumerate(cells.reshape(count, parts * parts, -1).swapaxes(0, 1)):
        square = np.square(part).sum(axis=1)
        apart = square[:, None] + square - 2 * part @ part.T
        apart[close] = np.inf
        distance[place] = np.sqrt(np.maximum(apart.min(axis=1), 0) / part.shape[1])
    usual = np.maximum(np.median(distance, axis=1, keepdims=True), _LEAST_DISTANCE)
    return np.asarray(np.sort(distance / usual, axis=0)[-3])
