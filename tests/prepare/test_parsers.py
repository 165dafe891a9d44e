"""The parsers that listen to a network, on painted people; each frame is a few flat parts."""

import hashlib
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch

from sspnerf.data.semantics import SemanticClass
from sspnerf.errors import SspnerfError, UsageError
from sspnerf.perception import models
from sspnerf.perception.celeba_mask import FACE_SIDE, CelebAMaskClass
from sspnerf.perception.multiclass import SelfieClass
from sspnerf.prepare import face_regions as points
from sspnerf.prepare.colors import SkinColor, fit_skin_color
from sspnerf.prepare.face_regions import face_regions
from sspnerf.prepare.parsers import (
    FACE_MARGIN,
    MOUTH_CORNERS,
    PARSERS,
    BisenetParser,
    LandmarkParser,
    MulticlassParser,
    face_window,
    merged,
    oval_mask,
    parser_by_name,
    parser_models,
)
from sspnerf.prepare.parsing import face_skin_mask, parse_frame
from tiny_networks import SELFIE_COLORS, bisenet_weights, write_selfie_model

SIDE = 400
SKIN, HAIR, CLOTHES, WALL = (210, 160, 130), (60, 40, 30), (40, 60, 140), (200, 210, 220)
CENTER, HALF_WIDTH, HALF_HEIGHT = np.array([200.0, 170.0]), 36.0, 48.0
FEATURES = (
    SemanticClass.BROW, SemanticClass.EYE, SemanticClass.NOSE, SemanticClass.LIP,
    SemanticClass.MOUTH_INTERIOR,
)  # fmt: skip


class Person(NamedTuple):
    """What a parser is given."""

    picture: np.ndarray
    landmarks: np.ndarray
    person: np.ndarray
    hair: np.ndarray
    skin: SkinColor

    def parse(self, parser):
        """Let a parser label this person."""
        return parser.label(
            self.picture, self.landmarks, person=self.person, hair=self.hair, skin=self.skin
        )

    def by_default(self):
        """What the rules say without a network."""
        return parse_frame(
            self.picture, self.landmarks, person=self.person, hair=self.hair, skin=self.skin
        )


def place(a, b):
    """Picture place of a point in head axes: a in face widths, b in face heights."""
    return CENTER + np.array([2 * a * HALF_WIDTH, -2 * b * HALF_HEIGHT])


def pixel(a, b):
    x, y = place(a, b)
    return int(y), int(x)


def ring(indices, center, half_width, half_height, landmarks):
    angle = np.linspace(0, 2 * np.pi, len(indices), endpoint=False)
    landmarks[indices, 0] = center[0] + half_width * np.sin(angle)
    landmarks[indices, 1] = center[1] - half_height * np.cos(angle)


@pytest.fixture(scope="module")
def landmarks():
    regions = face_regions()
    found = np.tile(np.append(CENTER, 0).astype(np.float32), (478, 1))
    start = int(np.flatnonzero(regions.oval == points.FOREHEAD)[0])
    ring(np.roll(regions.oval, -start), CENTER, HALF_WIDTH, HALF_HEIGHT, found)
    # The left eye is the person's own: to the picture's right.
    for sign, eye, brow in zip((1, -1), regions.eyes, regions.brows, strict=True):
        ring(eye, place(sign * 0.22, 0.1), 7, 4, found)
        ring(brow, place(sign * 0.22, 0.22), 8, 3, found)
    ring(regions.nose, place(0, -0.05), 6, 9, found)
    ring(regions.outer_lip, place(0, -0.28), 12, 7, found)
    ring(regions.inner_lip, place(0, -0.28), 8, 4, found)
    found[points.FOREHEAD, :2], found[points.CHIN, :2] = place(0, 0.5), place(0, -0.5)
    found[points.RIGHT_SIDE, :2], found[points.LEFT_SIDE, :2] = place(-0.5, 0), place(0.5, 0)
    found[points.UPPER_INNER_LIP, :2] = place(0, -0.28) - np.array([0, 4])
    found[points.LOWER_INNER_LIP, :2] = place(0, -0.28) + np.array([0, 4])
    for corner, sign in zip(MOUTH_CORNERS, (-1, 1), strict=True):
        found[corner, :2] = place(0, -0.28) + np.array([sign * 12, 0])
    return found


@pytest.fixture(scope="module")
def someone(landmarks):
    """Head, hair, neck and torso in front of a wall."""
    picture = np.full((SIDE, SIDE, 3), WALL, dtype=np.uint8)
    person, hair = (np.zeros((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    x, y = (int(value) for value in CENTER)
    for canvas, color in ((picture, CLOTHES), (person, 1)):
        cv2.rectangle(canvas, (60, 260), (340, SIDE - 1), color, -1)
    for canvas, color in ((picture, SKIN), (person, 1)):
        cv2.rectangle(canvas, (x - 18, y + 30), (x + 18, 265), color, -1)
        cv2.ellipse(canvas, (x, y), (36, 48), 0, 0, 360, color, -1)
        for side in (-39, 39):
            cv2.ellipse(canvas, (x + side, y), (6, 11), 0, 0, 360, color, -1)
    for canvas, color in ((picture, HAIR), (person, 1), (hair, 1)):
        cv2.ellipse(canvas, (x, y - 34), (40, 31), 0, 180, 360, color, -1)
    skin = fit_skin_color(picture[face_skin_mask(landmarks, (SIDE, SIDE))])
    return Person(picture, landmarks, person, hair, skin)


class Painted:
    """A network that says what the test painted, whatever it is shown."""

    def __init__(self, classes, probabilities):
        self.said = np.zeros((classes, *probabilities.shape), dtype=np.float32)
        np.put_along_axis(self.said, probabilities[None].astype(int), 1, axis=0)
        self.seen = None

    def probabilities(self, picture):
        """Keep what is shown and say what was painted."""
        self.seen = picture
        return self.said


def says(theirs):
    """A network of faces that says one thing of the whole window."""
    return Painted(len(CelebAMaskClass), np.full((FACE_SIDE, FACE_SIDE), theirs))


# What each class of CelebAMask-HQ is with us; None = not listened to.
EXPECTED = {
    "BACKGROUND": None, "GLASSES": None, "SKIN": "SKIN", "LEFT_BROW": "BROW",
    "RIGHT_BROW": "BROW", "LEFT_EYE": "EYE", "RIGHT_EYE": "EYE", "LEFT_EAR": "EAR",
    "RIGHT_EAR": "EAR", "EARRING": "EAR", "NOSE": "NOSE", "MOUTH": "MOUTH_INTERIOR",
    "UPPER_LIP": "LIP", "LOWER_LIP": "LIP", "NECK": "NECK", "NECKLACE": "NECK", "CLOTH": "TORSO",
    "HAIR": "HAIR", "HAT": "HAIR",
}  # fmt: skip


def test_classes_are_numbered_as_the_published_network_numbers_them():
    """The order of attributes in face-parsing.PyTorch's data set, 0 = nothing of it."""
    attributes = (
        "skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l "
        "cloth hair hat"
    )
    ours = (
        "SKIN LEFT_BROW RIGHT_BROW LEFT_EYE RIGHT_EYE GLASSES LEFT_EAR RIGHT_EAR EARRING NOSE "
        "MOUTH UPPER_LIP LOWER_LIP NECK NECKLACE CLOTH HAIR HAT"
    )
    assert len(attributes.split()) == 18
    assert [member.name for member in CelebAMaskClass] == ["BACKGROUND", *ours.split()]
    assert set(EXPECTED) == {member.name for member in CelebAMaskClass}


@pytest.mark.parametrize("theirs", CelebAMaskClass, ids=lambda theirs: theirs.name.lower())
def test_each_class_of_the_face_network_becomes_ours(someone, theirs):
    labels = someone.parse(BisenetParser(says(theirs)))
    expected, default = EXPECTED[theirs.name], someone.by_default()
    if expected is None:
        np.testing.assert_array_equal(labels, default)
    else:
        # On the cheek, the eye, an ear and the neck.
        for at in (pixel(0.3, -0.1), pixel(0.22, 0.1), pixel(0.57, 0), pixel(0, -0.75)):
            assert labels[at] == SemanticClass[expected]


def test_stripes_come_to_lie_where_they_were_seen(someone):
    """Nineteen stripes in the window, each found again at its place in the frame."""
    # The neck in the middle: elsewhere its place makes it something else.
    shown = np.roll(np.arange(19), -5)
    stripes = np.append(np.repeat(shown, 26), [shown[-1]] * (FACE_SIDE - 19 * 26))
    network = Painted(19, np.broadcast_to(stripes, (FACE_SIDE, FACE_SIDE)))
    everywhere = someone._replace(person=np.ones_like(someone.person))
    labels, default = everywhere.parse(BisenetParser(network)), everywhere.by_default()
    to_window = face_window(someone.landmarks)
    for stripe, theirs in enumerate(shown):
        expected = EXPECTED[CelebAMaskClass(theirs).name]
        at = (int(CENTER[1]), round((26 * stripe + 13 - to_window[0, 2]) / to_window[0, 0]))
        assert labels[at] == (default[at] if expected is None else SemanticClass[expected])


def test_outside_its_window_the_default_parser_speaks(someone):
    labels = someone.parse(BisenetParser(says(CelebAMaskClass.HAT)))
    inside = cv2.warpAffine(
        np.ones((FACE_SIDE, FACE_SIDE), np.uint8), face_window(someone.landmarks), (SIDE, SIDE),
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST,
    )  # fmt: skip
    far = cv2.dilate(inside, np.ones((3, 3), np.uint8)) == 0
    assert 0.3 < far.mean() < 0.9
    np.testing.assert_array_equal(labels[far], someone.by_default()[far])
    assert (labels[(inside > 0) & (someone.person > 0)] == SemanticClass.HAIR).all()


def test_no_network_makes_a_person_of_the_wall(someone):
    hat = BisenetParser(says(CelebAMaskClass.HAT))
    clothes = MulticlassParser(Painted(6, np.full((SIDE, SIDE), SelfieClass.CLOTHES)))
    for parser in (hat, clothes):
        np.testing.assert_array_equal(someone.parse(parser) > 0, someone.person >= 0.5)


def test_bare_shoulders_are_torso(someone):
    bare = someone._replace(person=np.ones_like(someone.person))
    labels = bare.parse(BisenetParser(says(CelebAMaskClass.NECK)))
    assert labels[pixel(0, -0.9)] == SemanticClass.NECK
    assert labels[pixel(0.5, -0.7)] == SemanticClass.NECK
    assert labels[pixel(0.65, -0.9)] == SemanticClass.TORSO
    assert labels[pixel(-0.9, -0.7)] == SemanticClass.TORSO


def test_left_and_right_are_added_before_they_are_compared():
    """Two ears of 0.3 are more than hair of 0.4; so are glasses and wall, which say nothing."""
    probabilities = np.zeros((19, 1, 2), dtype=np.float32)
    for theirs, value in (("LEFT_EAR", 0.3), ("RIGHT_EAR", 0.3), ("HAIR", 0.4)):
        probabilities[CelebAMaskClass[theirs], 0, 0] = value
    for theirs, value in (("GLASSES", 0.35), ("BACKGROUND", 0.25), ("EYE", 0.4)):
        name = theirs if theirs != "EYE" else "LEFT_EYE"
        probabilities[CelebAMaskClass[name], 0, 1] = value
    found = merged(probabilities)
    assert found.shape == (11, 1, 2)
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=1e-6)
    assert found[SemanticClass.EAR, 0, 0] == pytest.approx(0.6)
    assert found[SemanticClass.BACKGROUND, 0, 1] == pytest.approx(0.6)
    assert found[SemanticClass.EYE, 0, 1] == pytest.approx(0.4)


def test_the_window_is_celeba_hqs_by_hand(landmarks):
    """Eyes 31.7 px apart, 36.5 px above the mouth: the mouth decides the side."""
    eyes, mouth = place(0, 0.1), place(0, -0.28)
    side = FACE_MARGIN * 3.6 * (mouth - eyes)[1]
    assert side > FACE_MARGIN * 4 * (place(0.22, 0) - place(-0.22, 0))[0]
    scale = FACE_SIDE / side
    center = eyes + 0.1 * (mouth - eyes)
    for shown in (place(0, 0.1), place(0.5, -0.5), np.array([1.0, 2.0])):
        found = face_window(landmarks) @ np.append(shown - 0.5, 1) + 0.5
        np.testing.assert_allclose(found, scale * (shown - center) + FACE_SIDE / 2, atol=1e-3)


def test_eyes_far_apart_decide_the_side_of_the_window(landmarks):
    wide = landmarks.copy()
    left, right = face_regions().eyes
    wide[left, 0] += 10
    wide[right, 0] -= 10
    apart = wide[left, 0].mean() - wide[right, 0].mean()
    scale = FACE_SIDE / (FACE_MARGIN * 4 * apart)
    np.testing.assert_allclose(face_window(wide)[:, :2], scale * np.eye(2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("angle", [-90.0, 33.0, 80.0, 180.0])
def test_a_tilted_head_stands_upright_in_its_window(landmarks, angle):
    turn = cv2.getRotationMatrix2D((150.0, 190.0), angle, 1.0)
    turned = landmarks.copy()
    turned[:, :2] = (landmarks[:, :2] - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
    expected = face_window(landmarks)
    found = face_window(turned) @ np.vstack((turn, [0, 0, 1]))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_face_network_is_shown_the_face(someone):
    """What lies under a landmark in the frame lies under its image in the window."""
    picture = someone.picture.copy()
    marks = {(255, 0, 0): place(0.22, 0.1), (0, 255, 0): place(0, -0.28)}
    for color, (x, y) in marks.items():
        cv2.circle(picture, (int(x), int(y)), 4, color, -1)
    network = says(CelebAMaskClass.BACKGROUND)
    someone._replace(picture=picture).parse(BisenetParser(network))
    assert network.seen.shape == (FACE_SIDE, FACE_SIDE, 3)
    for color, shown in marks.items():
        x, y = face_window(someone.landmarks) @ np.append(shown - 0.5, 1)
        assert tuple(network.seen[round(y), round(x)]) == color


def selfie(someone, **painted):
    """Labels where a network says what is painted: class -> mask."""
    said = np.zeros((SIDE, SIDE), dtype=np.int64)
    for name, mask in painted.items():
        said[mask] = SelfieClass[name.upper()]
    return someone.parse(MulticlassParser(Painted(6, said)))


EVERYWHERE = np.ones((SIDE, SIDE), dtype=bool)


def test_a_silent_network_leaves_the_default_parsers_labels(someone):
    np.testing.assert_array_equal(selfie(someone), someone.by_default())
    np.testing.assert_array_equal(selfie(someone, other=EVERYWHERE), someone.by_default())


@pytest.mark.parametrize("theirs", ["hair", "body_skin", "face_skin", "clothes"])
def test_the_inside_of_the_face_comes_from_landmarks(someone, theirs):
    default = someone.by_default()
    labels = selfie(someone, **{theirs: EVERYWHERE})
    features = np.isin(default, FEATURES)
    assert features.sum() > 500
    np.testing.assert_array_equal(labels[features], default[features])
    # Nothing but a fringe covers the cheeks and the chin.
    for at in (pixel(0.25, -0.1), pixel(0, -0.45)):
        assert labels[at] == SemanticClass.SKIN


@pytest.mark.parametrize("theirs", ["body_skin", "face_skin"])
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0.3, -0.1, SemanticClass.SKIN),
        (0, 0.55, SemanticClass.SKIN),
        (0.57, 0, SemanticClass.EAR),
        (-0.57, 0, SemanticClass.EAR),
        (0.2, -0.7, SemanticClass.NECK),
        (-0.35, -0.85, SemanticClass.NECK),
        (0, -1.3, SemanticClass.TORSO),
        (1.2, -1.3, SemanticClass.TORSO),
    ],
)
def test_bare_skin_is_named_by_its_place(someone, theirs, a, b, expected):
    bald = someone._replace(person=np.ones_like(someone.person))
    assert selfie(bald, **{theirs: EVERYWHERE})[pixel(a, b)] == expected


def test_clothes_and_hair_are_believed_outside_the_face(someone):
    neck, beside = pixel(0, -0.75), pixel(0.57, 0)
    default = someone.by_default()
    assert default[neck] == SemanticClass.NECK
    assert default[beside] == SemanticClass.EAR
    assert selfie(someone, clothes=EVERYWHERE)[neck] == SemanticClass.TORSO
    assert selfie(someone, hair=EVERYWHERE)[beside] == SemanticClass.HAIR
    assert selfie(someone, hair=EVERYWHERE)[pixel(0, 0.4)] == SemanticClass.HAIR


def test_a_forehead_that_only_the_hair_network_called_hair_is_skin(someone):
    """Dark skin, or a shadow."""
    forehead = pixel(0, 0.4)
    assert someone.by_default()[forehead] == SemanticClass.HAIR
    assert selfie(someone, face_skin=EVERYWHERE)[forehead] == SemanticClass.SKIN


def test_the_oval_is_the_painted_one(landmarks):
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    ellipse = ((x - CENTER[0]) / HALF_WIDTH) ** 2 + ((y - CENTER[1]) / HALF_HEIGHT) ** 2 < 1
    # 36 corners cut up to 0.4 % of the radius off.
    assert (oval_mask(landmarks, (SIDE, SIDE)) ^ ellipse).sum() < 0.03 * ellipse.sum()


@pytest.fixture
def model_files(tmp_path, monkeypatch):
    """Make a file in the models' folder the expected one."""
    monkeypatch.setenv("SSPNERF_MODELS", str(tmp_path))
    table = dict(models.MODEL_FILES)
    monkeypatch.setattr(models, "MODEL_FILES", table)

    def expect(name):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        table[name] = replace(table[name], sha256=digest)

    return tmp_path, expect


def test_the_face_network_is_found_loaded_and_run(someone, model_files, generator):
    folder, expect = model_files
    torch.save(bisenet_weights(generator), folder / "79999_iter.pth")
    expect("79999_iter.pth")
    parser = parser_by_name("bisenet")
    labels = someone.parse(parser)
    parser.close()
    assert isinstance(parser, BisenetParser)
    np.testing.assert_array_equal(labels > 0, someone.person >= 0.5)
    # Random weights say something else than the rules, but only in their window.
    assert 0.01 < (labels != someone.by_default()).mean() < 0.5


def test_the_selfie_network_is_found_loaded_and_run(someone, model_files):
    """The tiny model knows colors: a shirt of its blue, a scarf of the same, ears of its red."""
    folder, expect = model_files
    write_selfie_model(folder / "selfie_multiclass_256x256.tflite")
    expect("selfie_multiclass_256x256.tflite")
    picture = np.zeros_like(someone.picture)
    picture[215:] = SELFIE_COLORS["clothes"]
    picture[:190] = SELFIE_COLORS["hair"]
    parser = parser_by_name("multiclass")
    labels = someone._replace(picture=picture).parse(parser)
    parser.close()
    assert isinstance(parser, MulticlassParser)
    assert labels[pixel(0, -0.75)] == SemanticClass.TORSO
    assert labels[pixel(0.57, 0)] == SemanticClass.HAIR
    assert labels[pixel(0, -0.05)] == SemanticClass.NOSE


def test_the_default_is_the_default(someone):
    parser = parser_by_name("landmarks")
    assert isinstance(parser, LandmarkParser)
    np.testing.assert_array_equal(someone.parse(parser), someone.by_default())
    parser.close()


def test_only_the_files_that_a_parser_needs_are_named():
    base = {"face_landmarker.task", "selfie_segmentation.tflite", "hair_segmentation.tflite"}
    extra = {
        "landmarks": set(),
        "bisenet": {"79999_iter.pth"},
        "multiclass": {"selfie_multiclass_256x256.tflite"},
    }
    assert set(PARSERS) == set(extra)
    for name, files in extra.items():
        assert set(parser_models(name)) == base | files
        assert set(parser_models(name)) <= set(models.MODEL_FILES)


@pytest.mark.refuses
@pytest.mark.parametrize("ask", [parser_by_name, parser_models])
def test_an_unknown_parser_is_refused(ask):
    with pytest.raises(
        UsageError, match="parser is segformer; expected one of: landmarks, bisenet, multiclass"
    ):
        ask("segformer")


@pytest.mark.refuses
def test_a_face_network_of_other_content_is_not_even_opened(model_files):
    folder, _ = model_files
    (folder / "79999_iter.pth").write_bytes(b"a login page")
    with pytest.raises(SspnerfError, match=r"79999_iter\.pth is not the expected file"):
        parser_by_name("bisenet")
