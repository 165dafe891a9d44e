"""How steady labels and masks are: changes from frame to frame that motion does not explain.

Motion is dense optical flow (DIS: Kroeger et al. 2016) between the pictures. It is believed where
going there and back ends within `FLOW_RETURN` px of the start and where the color is still the
same; elsewhere (occlusion, blinks, blur) nothing is judged.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Flow is believed if there and back ends so near to the start, px.
FLOW_RETURN = 1.0
# ... and if no color channel changed by more, of 255, once smoothed.
FLOW_COLOR = 20
# A contour is looked for so far along its normal, px, in such steps.
CONTOUR_REACH = 6.0
CONTOUR_STEP = 0.125
CONTOUR_LEVEL = 0.5


class Flicker(NamedTuple):
    """Label changes that flow does not explain, as shares of the person's judged pixels."""

    changed: float
    """Pixels whose label is not the one that flow brings; half-pixel wobble of edges included."""
    jumped: float
    """Those whose new label is not even within 1 px of where flow brings it."""
    judged: float
    """Share of the person's pixels where flow is believed."""


class Motion(NamedTuple):
    """Where each pixel of a frame was in the frame before."""

    source: NDArray[np.float32]
    """x, y in OpenCV's numbering (the first pixel's centre is 0). Shape (height, width, 2)."""
    believed: NDArray[np.bool_]
    """Shape (height, width)."""


def motion_between(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Motion:
    """Find where each pixel came from.

    Args:
        before: RGB. Shape (height, width, 3), at least 16 x 16.
        after: The next frame. Same shape.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after)]
    # OpenCV's stubs ask for an array where its documentation asks for none.
    backward = flow.calc(gray[1], gray[0], None)  # type: ignore[call-overload]
    forward = flow.calc(gray[0], gray[1], None)  # type: ignore[call-overload]
    source = _pixel_grid(backward.shape[:2]) + backward
    returned = backward + _taken(forward, source)
    brought = _taken(before, source)
    change = cv2.blur(cv2.absdiff(brought, after), (3, 3)).max(axis=-1)
    inside = (source >= 0) & (source <= np.array([after.shape[1] - 1, after.shape[0] - 1]))
    near = np.square(returned).sum(axis=-1) <= FLOW_RETURN**2
    return Motion(source, np.asarray(near & (change <= FLOW_COLOR) & inside.all(axis=-1)))


def label_flicker(frames: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Flicker:
    """Measure how many labels change although flow says that the pixel only moved.

    Counted per pair of consecutive frames over the pixels that either frame (the earlier one
    brought along by flow) labels as person, where flow is believed.

    Args:
        frames: RGB. Shape (frames, height, width, 3), at least 2 frames.
        labels: Of the same frames, 0 = background. Shape (frames, height, width).

    Returns:
        The mean over the whole stretch.
    """
    changed = jumped = judged = person = 0
    cross = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
    for before, after, old, new in zip(
        frames[:-1], frames[1:], labels[:-1], labels[1:], strict=True
    ):
        motion = motion_between(before, after)
        brought = _taken(old, motion.source, cv2.INTER_NEAREST)
        somebody = (brought > 0) | (new > 0)
        counted = somebody & motion.believed
        differs = counted & (brought != new)
        person += int(somebody.sum())
        judged += int(counted.sum())
        changed += int(differs.sum())
        for label in np.unique(new[differs]):
            around = cv2.dilate((brought == label).astype(np.uint8), cross)
            jumped += int((differs & (new == label) & (around == 0)).sum())
    whole = max(judged, 1)
    return Flicker(changed / whole, jumped / whole, judged / max(person, 1))


def mask_wobble(frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> float:
    """Measure how far a mask's edge strays from where flow brings it, from frame to frame.

    Args:
        frames: RGB. Shape (frames, height, width, 3), at least 2 frames.
        masks: 255 = certainly person. Shape (frames, height, width).

    Returns:
        Root mean square displacement of the half-way contour along its normal, px; 0 if no contour
        could be judged.
    """
    offsets = []
    for before, after, old, new in zip(frames[:-1], frames[1:], masks[:-1], masks[1:], strict=True):
        motion = motion_between(before, after)
        brought = _taken(_share(old), motion.source)
        offsets.append(contour_offsets(brought, _share(new), where=motion.believed))
    found = np.concatenate(offsets)
    return float(np.sqrt(np.square(found).mean())) if len(found) else 0.0


def contour_offsets(
    reference: NDArray[np.float32],
    mask: NDArray[np.float32],
    *,
    where: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Measure how far a mask's half-way contour lies from another's, in sub-pixels.

    Every pixel step across the reference's contour gives one point; from there the mask's nearest
    crossing is looked for along the contour's normal.

    Args:
        reference: In [0, 1]. Shape (height, width).
        mask: In [0, 1]. Same shape.
        where: Points elsewhere are left out. Same shape.

    Returns:
        px, positive where the mask is larger; `CONTOUR_REACH` where it has no contour near by.
        Shape (points,).
    """
    points, outward = _contour(reference, where)
    if not len(points):
        return np.zeros(0, dtype=np.float32)
    steps = np.arange(-CONTOUR_REACH, CONTOUR_REACH + CONTOUR_STEP, CONTOUR_STEP, dtype=np.float32)
    along = points[:, None] + steps[None, :, None] * outward[:, None]
    seen = _sample(mask, along)
    falls = (seen[:, :-1] >= CONTOUR_LEVEL) & (seen[:, 1:] < CONTOUR_LEVEL)
    drop = np.maximum(seen[:, :-1] - seen[:, 1:], np.float32(1e-6))
    place = steps[:-1] + CONTOUR_STEP * (seen[:, :-1] - CONTOUR_LEVEL) / drop
    distance = np.where(falls, np.abs(place), np.inf)
    nearest = distance.argmin(axis=1)[:, None]
    offset = np.take_along_axis(np.where(falls, place, 0), nearest, axis=1)[:, 0]
    missing = ~np.isfinite(np.take_along_axis(distance, nearest, axis=1)[:, 0])
    return np.where(missing, CONTOUR_REACH, offset).astype(np.float32)


def _contour(
    mask: NDArray[np.float32], where: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points on the half-way contour, x, y in OpenCV's numbering, and its unit outward normals."""
    smooth = cv2.GaussianBlur(mask, (0, 0), 1.5)
    slopes = [np.asarray(cv2.Sobel(smooth, cv2.CV_32F, *d), np.float32) for d in ((1, 0), (0, 1))]
    found = []
    for axis in (0, 1):
        first, second = (mask[:, :-1], mask[:, 1:]) if axis == 0 else (mask[:-1], mask[1:])
        crossing = (first >= CONTOUR_LEVEL) != (second >= CONTOUR_LEVEL)
        if where is not None:
            crossing &= where[: crossing.shape[0], : crossing.shape[1]]
        y, x = np.nonzero(crossing)
        share = (CONTOUR_LEVEL - first[y, x]) / (second[y, x] - first[y, x])
        points = np.stack((x, y), axis=1).astype(np.float32)
        points[:, axis] += share
        found.append(points)
    points = np.concatenate(found)
    normal = -np.stack([_sample(slope, points[:, None])[:, 0] for slope in slopes], axis=1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    kept = (length[:, 0] > 1e-3) & _inside(points, mask.shape)
    return points[kept], (normal / np.maximum(length, 1e-6))[kept].astype(np.float32)


def _inside(points: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.bool_]:
    """Whether the search along the normal stays in the picture."""
    limit = np.array([shape[1] - 1, shape[0] - 1]) - CONTOUR_REACH
    return np.asarray(((points >= CONTOUR_REACH) & (points <= limit)).all(axis=1))


def _sample(picture: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bilinear values at places (points, steps, 2), in pieces that OpenCV can address."""
    pieces = [_taken(picture, places[at : at + 16000]) for at in range(0, len(places), 16000)]
    if not pieces:
        return np.zeros(places.shape[:2], dtype=np.float32)
    return np.concatenate(pieces)


def _taken(
    picture: NDArray[Any], places: NDArray[np.float32], method: int = cv2.INTER_LINEAR
) -> NDArray[Any]:
    """What a picture shows at places x, y (OpenCV's numbering). Shape (rows, columns, ...)."""
    x, y = places[..., 0], places[..., 1]
    return np.asarray(cv2.remap(picture, x, y, method, borderMode=cv2.BORDER_REPLICATE))


def _pixel_grid(shape: Sequence[int]) -> NDArray[np.float32]:
    x, y = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
    return np.stack((x, y), axis=-1).astype(np.float32)


def _share(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    return mask.astype(np.float32) / np.float32(255)
