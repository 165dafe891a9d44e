"""Label maps of a hand-made face: an ellipse with features, hair above, neck and torso below."""

import cv2
import numpy as np
import pytest

from sspnerf.data.semantics import SemanticClass
from sspnerf.prepare import face_regions as points
from sspnerf.prepare.colors import TABLE_SCALE, fit_skin_color
from sspnerf.prepare.face_regions import chains, face_regions
from sspnerf.prepare.parsing import face_skin_mask, frame_places, head_axes, parse_frame

SIDE = 200
SKIN, HAIR, CLOTHES, WALL = (210, 160, 130), (60, 40, 30), (40, 60, 140), (200, 210, 220)
CENTER, HALF_WIDTH, HALF_HEIGHT = np.array([100.0, 80.0]), 30.0, 40.0


def place(a, b):
    """Picture place of a point in head axes: a in face widths, b in face heights."""
    return CENTER + np.array([2 * a * HALF_WIDTH, -2 * b * HALF_HEIGHT])


def ring(indices, center, half_width, half_height, landmarks):
    """Put a ring of landmarks on an ellipse, beginning at its top."""
    angle = np.linspace(0, 2 * np.pi, len(indices), endpoint=False)
    landmarks[indices, 0] = center[0] + half_width * np.sin(angle)
    landmarks[indices, 1] = center[1] - half_height * np.cos(angle)


@pytest.fixture(scope="module")
def landmarks():
    """478 points: those that outline something on ellipses, the rest in the middle."""
    regions = face_regions()
    found = np.tile(np.append(CENTER, 0).astype(np.float32), (478, 1))
    start = int(np.flatnonzero(regions.oval == points.FOREHEAD)[0])
    ring(np.roll(regions.oval, -start), CENTER, HALF_WIDTH, HALF_HEIGHT, found)
    for sign, eye, brow in zip((1, -1), regions.eyes, regions.brows, strict=True):
        ring(eye, place(sign * 0.22, 0.1), 6, 3, found)
        ring(brow, place(sign * 0.22, 0.22), 7, 2, found)
    ring(regions.nose, place(0, -0.05), 5, 8, found)
    ring(regions.outer_lip, place(0, -0.28), 10, 6, found)
    ring(regions.inner_lip, place(0, -0.28), 7, 3, found)
    found[points.FOREHEAD, :2], found[points.CHIN, :2] = place(0, 0.5), place(0, -0.5)
    found[points.RIGHT_SIDE, :2], found[points.LEFT_SIDE, :2] = place(-0.5, 0), place(0.5, 0)
    found[points.UPPER_INNER_LIP, :2] = place(0, -0.28) - np.array([0, 3])
    found[points.LOWER_INNER_LIP, :2] = place(0, -0.28) + np.array([0, 3])
    return found


@pytest.fixture(scope="module")
def scene():
    """Picture, person and hair: each part in one color."""
    picture = np.full((SIDE, SIDE, 3), WALL, dtype=np.uint8)
    person = np.zeros((SIDE, SIDE), dtype=np.float32)
    hair = np.zeros((SIDE, SIDE), dtype=np.float32)
    x, y = int(CENTER[0]), int(CENTER[1])
    for canvas, color in ((picture, CLOTHES), (person, 1)):
        cv2.rectangle(canvas, (20, 145), (180, 199), color, -1)
    for canvas, color in ((picture, SKIN), (person, 1)):
        cv2.rectangle(canvas, (x - 15, y + 30), (x + 15, 150), color, -1)
        cv2.ellipse(canvas, (x, y), (30, 40), 0, 0, 360, color, -1)
        for side in (-33, 33):
            cv2.ellipse(canvas, (x + side, y), (5, 9), 0, 0, 360, color, -1)
    for canvas, color in ((picture, HAIR), (person, 1), (hair, 1)):
        cv2.ellipse(canvas, (x, y - 28), (33, 26), 0, 180, 360, color, -1)
    # The shadow of the chin, dark but of the skin's hue.
    picture[int(place(0, -0.53)[1]) : int(place(0, -0.6)[1]), x - 12 : x + 12] = (84, 64, 52)
    return picture, person, hair


@pytest.fixture(scope="module")
def labels(scene, landmarks):
    picture, person, hair = scene
    skin = fit_skin_color(picture[face_skin_mask(landmarks, (SIDE, SIDE))])
    return parse_frame(picture, landmarks, person=person, hair=hair, skin=skin)


def label_at(labels, a, b):
    x, y = place(a, b)
    return SemanticClass(labels[int(y), int(x)])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0.3, -0.1, SemanticClass.SKIN),
        (-0.22, 0.1, SemanticClass.EYE),
        (0.22, 0.1, SemanticClass.EYE),
        (0.22, 0.22, SemanticClass.BROW),
        (0, -0.05, SemanticClass.NOSE),
        (0, -0.28, SemanticClass.MOUTH_INTERIOR),
        (0, -0.34, SemanticClass.LIP),
        (0.57, 0, SemanticClass.EAR),
        (-0.57, 0, SemanticClass.EAR),
        (0, 0.6, SemanticClass.HAIR),
        (0, -0.56, SemanticClass.NECK),
        (0, -0.75, SemanticClass.NECK),
        (0, -1.2, SemanticClass.TORSO),
        (1.1, -1.0, SemanticClass.TORSO),
        (1.4, 0.3, SemanticClass.BACKGROUND),
    ],
)
def test_each_part_gets_its_class(labels, a, b, expected):
    assert label_at(labels, a, b) is expected


def test_nothing_outside_the_person_is_labelled(labels, scene):
    _, person, _ = scene
    np.testing.assert_array_equal(labels > 0, person >= 0.5)


def test_a_closed_mouth_has_no_interior(scene, landmarks):
    picture, person, hair = scene
    closed = landmarks.copy()
    closed[points.LOWER_INNER_LIP] = closed[points.UPPER_INNER_LIP]
    skin = fit_skin_color(picture[face_skin_mask(landmarks, (SIDE, SIDE))])
    labels = parse_frame(picture, closed, person=person, hair=hair, skin=skin)
    assert label_at(labels, 0, -0.28) is SemanticClass.LIP
    assert not (labels == SemanticClass.MOUTH_INTERIOR).any()


def test_labels_follow_a_tilted_head(scene, landmarks):
    """Turning picture and landmarks together turns the labels."""
    turn = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), 90, 1.0)
    picture, person, hair = (np.ascontiguousarray(np.rot90(part)) for part in scene)
    turned = landmarks.copy()
    turned[:, :2] = (landmarks[:, :2] - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
    skin = fit_skin_color(picture[face_skin_mask(turned, (SIDE, SIDE))])
    found = parse_frame(picture, turned, person=person, hair=hair, skin=skin)
    upright = parse_frame(*scene[:1], landmarks, person=scene[1], hair=scene[2], skin=skin)
    # Polygons and filters round pixels at edges differently when turned.
    assert (np.rot90(found, -1) == upright).mean() > 0.98


def test_head_axes_by_hand(landmarks):
    places = frame_places(landmarks, (SIDE, SIDE))
    # LEAST_WIDTH: this face is 60 px wide and 80 px high, wider than 0.72 of its height.
    assert places.a[80, 130] == pytest.approx(0.5, abs=0.02)
    assert places.b[40, 100] == pytest.approx(0.5, abs=0.02)
    assert places.b[120, 100] == pytest.approx(-0.5, abs=0.02)


def test_skin_color_knows_shade_but_not_blue():
    random = np.random.default_rng(0)
    skin = fit_skin_color(np.clip(random.normal(SKIN, 6, (500, 3)), 0, 255).astype(np.uint8))
    shown = np.array([[SKIN, np.array(SKIN) // 2, CLOTHES, WALL]], dtype=np.uint8)
    lit, shaded, cloth, wall = skin.distance_in_shade(shown)[0]
    assert max(lit, shaded) < 1.5
    assert min(cloth, wall) > 5
    assert skin.distance(shown)[0, 0] < 1 < 3.5 < skin.distance(shown)[0, 2]


def test_the_table_of_distances_is_nearly_exact():
    random = np.random.default_rng(0)
    skin = fit_skin_color(np.clip(random.normal(SKIN, 9, (500, 3)), 0, 255).astype(np.uint8))
    shown = np.clip(random.normal(SKIN, 14, (60, 60, 3)), 0, 255).astype(np.uint8)
    table = skin.distances(shown) / TABLE_SCALE
    exact = np.stack((skin.distance(shown), skin.distance_in_shade(shown)), axis=-1)
    assert np.abs(table - exact)[exact < 8].mean() < 0.25
    # Which side of a threshold of 3.5 a color lies on seldom changes.
    assert ((table[..., 0] < 3.5) == (exact[..., 0] < 3.5)).mean() > 0.96


def test_head_axes_lead_there_and_back(landmarks):
    axes = head_axes(landmarks)
    places = axes.over((SIDE, SIDE))
    for a, b in ((0.3, -0.4), (-0.6, 0.7)):
        x, y = np.round(axes.place(a, b) - 0.5).astype(int)
        assert (places.a[y, x], places.b[y, x]) == pytest.approx((a, b), abs=0.02)


def test_a_head_beyond_the_picture_leaves_a_torso(scene, landmarks):
    picture, _, _ = scene
    away = landmarks + np.float32([5000, 0, 0])
    skin = fit_skin_color(picture[face_skin_mask(landmarks, (SIDE, SIDE))])
    everywhere = np.ones((SIDE, SIDE), np.float32)
    labels = parse_frame(picture, away, person=everywhere, hair=0 * everywhere, skin=skin)
    assert (labels == SemanticClass.TORSO).all()


def test_outlines_are_rings_of_mediapipes_points():
    regions = face_regions()
    assert len(regions.oval) == 36
    assert [len(eye) for eye in regions.eyes] == [16, 16]
    assert [len(brow) for brow in regions.brows] == [10, 10]
    assert len(regions.outer_lip) == len(regions.inner_lip) == 20
    assert points.CHIN in regions.oval
    assert regions.triangles.shape == (852, 3)
    assert set(np.unique(regions.triangles)) == set(range(468))


def test_an_open_and_a_closed_chain_are_walked_in_order():
    closed, opened = chains(np.array([(1, 2), (2, 3), (3, 1), (9, 8), (7, 8)]))
    assert sorted(closed) == [1, 2, 3]
    assert opened.tolist() in ([9, 8, 7], [7, 8, 9])
