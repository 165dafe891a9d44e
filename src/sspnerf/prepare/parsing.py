"""Label maps: which of the 11 classes each pixel shows.

The inside of the face comes from the outlines of its landmarks, the rest from the person and hair
masks, from the color of the skin and from where things are on a person: an ear beside the face, a
neck below it. No network for face parsing is needed.

Head axes: a = to the picture's right and b = up along the face, both 0 in the middle of the face
oval; a in widths of the face, b in its heights (0.5 = top of the oval, -0.5 = chin).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sspnerf.data.semantics import SemanticClass
from sspnerf.prepare import face_regions as points
from sspnerf.prepare.background import spread_evenly
from sspnerf.prepare.colors import TABLE_SCALE, SkinColor, fit_skin_color
from sspnerf.prepare.face_regions import FaceRegions, face_regions

# Frames from which the skin's color is learned, and pixels of each.
SKIN_FRAMES, SKIN_PIXELS = 60, 2000
# Lips further apart than this share of the face's height show what is between them.
OPEN_MOUTH = 0.012
# Skin: distance from the mean color of the face, in standard deviations.
SKIN_DISTANCE = 3.5
# The same by chromaticity, for a neck in the shade; right below the chin, where it is deepest and
# clothes are seldom, and elsewhere. That is above this b, no further from the middle than this a.
CHIN_SHADE_DISTANCE, SHADED_DISTANCE = 5.5, 4.25
CHIN_SHADE_BOTTOM, CHIN_SHADE_REACH = -0.68, 0.36
# Heights b between which ears lie, and how far from the middle they reach, a.
EAR_TOP, EAR_BOTTOM, EAR_REACH = 0.24, -0.26, 0.72
# What else of a person is above the ears' lower end is hair, no further from the middle than this
# a.
HEAD_REACH = 1.2
# A face that looks aside appears narrower than this share of its height; the head does not.
LEAST_WIDTH = 0.72
# The neck: no further from the middle than a, narrowing from b = middle to nothing at b = bottom.
NECK_REACH, NECK_MIDDLE, NECK_BOTTOM = 0.48, -0.55, -1.05
# Hair may cover the face oval above this b, or further from the middle than this a.
FRINGE_BOTTOM, SIDEBURN = 0.16, 0.40
# Less probability of hair than this is none.
FAINT_HAIR = 0.2
# Labels other than torso, hair and background lie between these a and below this b.
SIDES = (-HEAD_REACH, HEAD_REACH)
HEAD_TOP = 2.5


class FramePlaces(NamedTuple):
    """Head axes for every pixel of one frame."""

    a: NDArray[np.float32]
    """Shape (height, width)."""
    b: NDArray[np.float32]
    """Shape (height, width)."""


def face_skin_mask(landmarks: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the bare skin of the face: cheeks, forehead, nose; no eyes, brows, lips.

    Args:
        landmarks: px. Shape (478, 3).
        shape: Height and width of the picture.

    Returns:
        Shape (height, width).
    """
    regions = face_regions()
    # The rim of the oval shows hair and shadow; three quarters of it show skin only.
    center = landmarks[regions.oval].mean(axis=0)
    shrunk = center + 0.75 * (landmarks - center)
    canvas = np.zeros(shape, dtype=np.uint8)
    _fill(canvas, shrunk[regions.oval], 1)
    for ring in (*regions.eyes, *regions.brows, regions.outer_lip):
        middle = landmarks[ring].mean(axis=0)
        _fill(canvas, middle + 1.3 * (landmarks[ring] - middle), 0)
    return canvas > 0


class HeadAxes(NamedTuple):
    """Where the head's axes lie in the picture."""

    middle: NDArray[np.float64]
    """px, a = 0. Shape (2,)."""
    center: NDArray[np.float64]
    """px, b = 0. Shape (2,)."""
    across: NDArray[np.float64]
    """Unit vector along which a grows. Shape (2,)."""
    up: NDArray[np.float64]
    """Unit vector along which b grows. Shape (2,)."""
    width: float
    """px in one a."""
    height: float
    """px in one b."""

    def place(self, a: float, b: float) -> NDArray[np.float64]:
        """Tell the place with such head coordinates, px. Shape (2,)."""
        beside = a * self.width - (self.center - self.middle) @ self.across
        return np.asarray(self.center + b * self.height * self.up + beside * self.across)

    def over(self, shape: Sequence[int]) -> FramePlaces:
        """Tell the head coordinates of every pixel of a picture of this height and width."""
        return FramePlaces(
            a=_slope(shape, self.middle, self.across / self.width),
            b=_slope(shape, self.center, self.up / self.height),
        )


def _slope(
    shape: Sequence[int], origin: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float32]:
    """How far along a direction (x, y) each pixel's centre lies from an origin."""
    x = (np.arange(shape[1]) + 0.5 - origin[0]) * direction[0]
    y = (np.arange(shape[0]) + 0.5 - origin[1]) * direction[1]
    return np.asarray(np.add.outer(y.astype(np.float32), x.astype(np.float32)))


def head_axes(landmarks: NDArray[np.float32]) -> HeadAxes:
    """Find the head's axes.

    Args:
        landmarks: px. Shape (478, 3).
    """
    top, chin = (landmarks[p, :2].astype(np.float64) for p in (points.FOREHEAD, points.CHIN))
    right, left = (
        landmarks[p, :2].astype(np.float64) for p in (points.RIGHT_SIDE, points.LEFT_SIDE)
    )
    height = float(np.linalg.norm(top - chin)) + 1e-6
    up = (top - chin) / height
    return HeadAxes(
        middle=(right + left) / 2,
        center=(top + chin) / 2,
        # Picture axes: y runs down, so right-handed turns are the other way round.
        across=np.array([-up[1], up[0]]),
        up=up,
        width=max(float(np.linalg.norm(left - right)), LEAST_WIDTH * height),
        height=height,
    )


def clip_skin_color(
    frames: NDArray[np.uint8], landmarks: NDArray[np.float32], valid: NDArray[np.bool_]
) -> SkinColor:
    """Learn the color of a person's skin from some frames of a clip.

    Args:
        frames: RGB. Shape (frames, height, width, 3).
        landmarks: px. Shape (frames, 478, 3).
        valid: Frames whose landmarks are no guess; at least one. Shape (frames,).
    """
    seen = np.flatnonzero(valid)
    samples = []
    for index in seen[spread_evenly(len(seen), SKIN_FRAMES)]:
        picture = np.asarray(frames[index])
        pixels = picture[face_skin_mask(landmarks[index], (picture.shape[0], picture.shape[1]))]
        samples.append(pixels[:: max(1, len(pixels) // SKIN_PIXELS)])
    return fit_skin_color(np.concatenate(samples))


def frame_places(landmarks: NDArray[np.float32], shape: Sequence[int]) -> FramePlaces:
    """Lay the head's axes over a picture.

    Args:
        landmarks: px. Shape (478, 3).
        shape: Height and width.
    """
    return head_axes(landmarks).over(shape)


def parse_frame(
    picture: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    *,
    person: NDArray[np.float32],
    hair: NDArray[np.float32],
    skin: SkinColor,
) -> NDArray[np.uint8]:
    """Label every pixel of a frame.

    Args:
        picture: RGB. Shape (height, width, 3).
        landmarks: px. Shape (478, 3).
        person: Probability of a person. Shape (height, width).
        hair: Probability of hair. Shape (height, width).
        skin: The skin's color in this clip.

    Returns:
        `SemanticClass` values. Shape (height, width).
    """
    labels = np.where(hair >= 0.5, np.uint8(SemanticClass.HAIR), np.uint8(SemanticClass.TORSO))
    axes = head_axes(landmarks)
    rows, columns = _window(axes, labels.shape, SIDES, (NECK_BOTTOM, HEAD_TOP))
    if labels[rows, columns].size:
        shift = np.array([columns.start, rows.start, 0], dtype=np.float32)
        labels[rows, columns] = _parse_head(
            picture[rows, columns],
            landmarks - shift,
            hair=hair[rows, columns],
            skin=skin,
            side=picture.shape[0],
        )
    labels[person < 0.5] = SemanticClass.BACKGROUND
    return labels


def _window(
    axes: HeadAxes,
    shape: Sequence[int],
    a: tuple[float, float],
    b: tuple[float, float],
) -> tuple[slice, slice]:
    """Rows and columns that hold a rectangle in head axes, as far as the picture goes."""
    corners = np.stack([axes.place(across, up) for across in a for up in b])
    limit = np.array(shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, low, limit).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _parse_head(
    picture: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    *,
    hair: NDArray[np.float32],
    skin: SkinColor,
    side: int,
) -> NDArray[np.uint8]:
    """Label the part of a frame that shows head and neck, as if all of it were a person.

    Args:
        picture: RGB. Shape (height, width, 3).
        landmarks: px of the part. Shape (478, 3).
        hair: Probability of hair. Shape (height, width).
        skin: The skin's color in this clip.
        side: Of the whole frame, px: the filters' unit.
    """
    axes = head_axes(landmarks)
    places = axes.over(hair.shape)
    oval = np.zeros(hair.shape, dtype=np.uint8)
    _fill(oval, landmarks[face_regions().oval], 1)
    soft = np.asarray(cv2.GaussianBlur(picture, (3, 3), 0), dtype=np.uint8)
    by_color, in_shade = cv2.split(skin.distances(soft))
    bare = _clean(by_color < SKIN_DISTANCE * TABLE_SCALE, side)
    # The neck is looked for where it can be: its filters cost by the pixel.
    part = _window(axes, hair.shape, (-NECK_REACH, NECK_REACH), (NECK_BOTTOM, EAR_BOTTOM))
    neck = np.zeros(hair.shape, dtype=bool)
    if neck[part].size:
        a, b = places.a[part], places.b[part]
        below_chin = (b > CHIN_SHADE_BOTTOM) & (np.abs(a) < CHIN_SHADE_REACH)
        most = np.where(below_chin, CHIN_SHADE_DISTANCE, SHADED_DISTANCE) * TABLE_SCALE
        neck[part] = _neck(FramePlaces(a, b), _clean(in_shade[part] < most, side), side)
    labels = _around_the_face(places, hair=hair, bare=bare, neck=neck)
    fringe = (places.b > FRINGE_BOTTOM) | (np.abs(places.a) > SIDEBURN)
    labels[(oval > 0) & ~(fringe & (hair > 0.5))] = SemanticClass.SKIN
    _draw_features(labels, landmarks, face_regions())
    return labels


def _around_the_face(
    places: FramePlaces,
    *,
    hair: NDArray[np.float32],
    bare: NDArray[np.bool_],
    neck: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Label everything as if it were a person and not inside the face oval."""
    a, b = np.abs(places.a), places.b
    labels = np.full(a.shape, SemanticClass.TORSO, dtype=np.uint8)
    labels[neck] = SemanticClass.NECK
    beside = (b >= EAR_BOTTOM) & (a < HEAD_REACH)
    labels[beside] = SemanticClass.HAIR
    # What an ear wears is no hair either, unless the network thinks so.
    ear = (b < EAR_TOP) & (a < EAR_REACH) & (bare | (hair < FAINT_HAIR))
    labels[beside & ear] = SemanticClass.EAR
    # The forehead goes on above the oval, and to the temples, until hair begins.
    forehead = (b >= EAR_TOP) & (a < EAR_REACH) & bare & (hair < FAINT_HAIR)
    labels[beside & forehead] = SemanticClass.SKIN
    labels[hair >= 0.5] = SemanticClass.HAIR
    return labels


def _neck(places: FramePlaces, bare: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Bare skin below the face, shadows and folds in it included."""
    a, b = places.a / NECK_REACH, places.b
    below = np.minimum(b - NECK_MIDDLE, 0) / (NECK_MIDDLE - NECK_BOTTOM)
    reach = (b < EAR_BOTTOM) & (a**2 + below**2 < 1)
    size = max(3, round(0.02 * side) | 1)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    neck = cv2.morphologyEx((reach & bare).astype(np.uint8), cv2.MORPH_CLOSE, disk)
    # Clothes are no thin lines: those are the neck's blurred outline.
    clothes = cv2.morphologyEx((reach & (neck == 0)).astype(np.uint8), cv2.MORPH_OPEN, disk)
    # What neck and face enclose (the chin's shadow) is neck, what reaches out of it is not.
    count, pieces, _, _ = cv2.connectedComponentsWithStats(clothes, connectivity=4)
    outside = np.unique(pieces[_rim(reach) & (clothes > 0)])
    enclosed = np.isin(pieces, np.setdiff1d(np.arange(1, count), outside))
    # A corner too small for the disk is no neck either, where no skin is near.
    near = cv2.dilate(neck, disk) > 0
    whole = (reach & (((clothes == 0) & near) | enclosed)).astype(np.uint8)
    # Nor does a neck end in thin spikes along the collar.
    return _largest(np.asarray(cv2.morphologyEx(whole, cv2.MORPH_OPEN, disk)) > 0)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest connected piece of a mask."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 1:
        return mask
    return np.asarray(pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that touch its outside below or beside, or the picture's border."""
    padded = np.pad(mask, 1)
    inner = padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner)


def _draw_features(
    labels: NDArray[np.uint8], landmarks: NDArray[np.float32], regions: FaceRegions
) -> None:
    """Draw nose, brows, eyes, lips and mouth into the label map."""
    hull = cv2.convexHull(landmarks[regions.nose, :2])[:, 0]
    _fill(labels, np.asarray(hull, dtype=np.float32), SemanticClass.NOSE)
    for brow in regions.brows:
        _fill(labels, landmarks[brow], SemanticClass.BROW)
    for eye in regions.eyes:
        _fill(labels, landmarks[eye], SemanticClass.EYE)
    _fill(labels, landmarks[regions.outer_lip], SemanticClass.LIP)
    height = np.linalg.norm(landmarks[points.FOREHEAD, :2] - landmarks[points.CHIN, :2])
    opening = np.linalg.norm(
        landmarks[points.UPPER_INNER_LIP, :2] - landmarks[points.LOWER_INNER_LIP, :2]
    )
    if opening > OPEN_MOUTH * height:
        _fill(labels, landmarks[regions.inner_lip], SemanticClass.MOUTH_INTERIOR)


def _fill(canvas: NDArray[np.uint8], outline: NDArray[np.floating], value: int) -> None:
    """Fill a polygon whose corners are given in px, first pixel's centre at (0.5, 0.5)."""
    # OpenCV numbers pixel centres from 0 and takes 1/256 px as its finest unit.
    corners = np.round((outline[:, :2] - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(canvas, [corners], int(value), shift=8)


def _clean(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Remove specks and holes of a boolean picture: the median of each pixel's surroundings."""
    size = max(3, round(side * 0.012) | 1)
    # Of two values the median is what the mean is nearer to.
    counts = mask.astype(np.uint8) * np.uint8(255)
    return np.asarray(cv2.blur(counts, (size, size), borderType=cv2.BORDER_REPLICATE) > 127)
