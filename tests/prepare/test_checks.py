"""Remarks: each from measures that were made so that exactly this is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from sspnerf.prepare.checks import Measured, all_remarks
from sspnerf.prepare.measures import FaceBox

FRAMES, RATE = 500, 25.0


def good():
    """Twenty seconds in which nothing is wrong."""
    random = np.random.default_rng(0)
    samples = np.arange(4, FRAMES, 8)
    patches = np.arange(0, FRAMES, 3)
    return Measured(
        frame_rate_hz=RATE, size=256, crop_side=512, cuts=(),
        valid=np.ones(FRAMES, bool),
        face=FaceBox(np.full(FRAMES, 120.0), np.full(FRAMES, -0.4)),
        turned_deg=random.uniform(0, 20, FRAMES),
        error_px=random.uniform(0.1, 0.5, FRAMES),
        opening=random.uniform(0, 0.06, FRAMES),
        torso_confidence=random.uniform(0.9, 1, FRAMES),
        sampled=samples,
        level=np.full(len(samples), 140.0),
        burnt=np.zeros(len(samples)),
        camera_shift=random.uniform(0, 0.001, len(samples)),
        light=random.uniform(-0.02, 0.02, len(samples)),
        background_change=random.uniform(0, 2, len(samples)),
        patched=patches,
        strangeness=random.uniform(0.5, 2, len(patches)),
        flicker=0.015,
        loudness_db=random.uniform(-40, -15, 400),
        cut_off=np.zeros(400, bool),
    )  # fmt: skip


def changed(name, where, value):
    """The good clip with some values of one measure changed."""
    values = np.array(getattr(good(), name))
    values[where] = value
    return replace(good(), **{name: values})


def only(measured):
    """The one remark, its sentence first."""
    remarks = all_remarks(measured)
    assert len(remarks) == 1, [remark.sentence for remark in remarks]
    return remarks[0]


def face(height=120.0, outside=-0.4):
    return FaceBox(np.full(FRAMES, height), np.broadcast_to(outside, FRAMES).astype(float))


def test_nothing_is_said_about_a_good_clip():
    assert all_remarks(good()) == []


def outside(*parts):
    values = np.full(FRAMES, -0.4)
    for part in parts:
        values[part] = 0.2
    return replace(good(), face=face(outside=values))


@pytest.mark.parametrize(
    ("measured", "sentence", "serious", "stretches"),
    [
        (outside(slice(310, 325)), "the head leaves the frame at 12.4 s, until 13.0 s", True,
         [range(310, 325)]),
        (outside(slice(310, 500)), "the head leaves the frame at 12.4 s", True, [range(310, 500)]),
        (outside(slice(100, 110), slice(310, 325)),
         "the head leaves the frame at 4.0 s and at 12.4 s", True,
         [range(100, 110), range(310, 325)]),
        (outside(slice(0, 400)), "the head leaves the frame most of the time", True,
         [range(0, 400)]),
        (changed("turned_deg", slice(80, 103), 50.0),
         "the face is turned away by up to 50 degrees from 3.2 s to 4.1 s", True, [range(80, 103)]),
        (changed("valid", 50, False), "no face is found at 2.0 s", False, [range(50, 51)]),
        (changed("valid", slice(50, 100), False), "no face is found from 2.0 s to 4.0 s", True,
         [range(50, 100)]),
        (changed("error_px", slice(200, 220), 9.0),
         "the landmarks do not fit the face from 8.0 s to 8.8 s", True, [range(200, 220)]),
        (replace(good(), error_px=np.full(FRAMES, 2.5)),
         "the landmarks fit the face at rest poorly: they are off by 2.5 px", True, []),
        (changed("torso_confidence", slice(100, 130), 0.1),
         "the torso's pose is a guess from 4.0 s to 5.2 s", False, [range(100, 130)]),
        (changed("torso_confidence", slice(0, 250), 0.1),
         "the torso's pose is a guess from 0.0 s to 10.0 s", True, [range(0, 250)]),
        (replace(good(), level=np.full(62, 41.0)),
         "the picture is dark: the face has 41 of 255 levels", True, []),
        (replace(good(), burnt=np.full(62, 0.23)),
         "the face is overexposed: 23 % of the skin is white", True, []),
        (replace(good(), flicker=0.061), "the labels flicker: 6.1 % of the person's pixels", True,
         []),
        (changed("camera_shift", slice(40, 62), 0.021),
         "the camera moves by up to 2.1 % of the picture's width from 13.0 s on", True,
         [range(324, 500)]),
        (changed("light", slice(10, 20), -0.14),
         "the light changes by up to 14.0 % from 3.4 s to 6.6 s", True, [range(84, 164)]),
        (changed("background_change", slice(10, 20), 25.0),
         "the background changes from 3.4 s to 6.6 s", True, [range(84, 164)]),
        (changed("strangeness", slice(50, 60), 6.0),
         "something seems to be before the face, hands perhaps, from 6.0 s to 7.2 s", True,
         [range(150, 180)]),
        (replace(good(), opening=np.linspace(0.02, 0.026, FRAMES)),
         "the mouth hardly moves: by 0.5 % of the face's height", True, []),
        (replace(good(), loudness_db=np.full(400, -70.0)), "the sound is silent", True, []),
        (changed("loudness_db", slice(100, 180), -90.0), "silence from 5.0 s to 9.0 s", False,
         [range(125, 225)]),
        (changed("loudness_db", slice(0, 200), -90.0), "silence from 0.0 s to 10.0 s", True,
         [range(0, 250)]),
        (changed("cut_off", [240, 241], True), "the sound clips: it is too loud at 12.0 s", False,
         [range(300, 302)]),
        (changed("cut_off", slice(240, 260), True),
         "the sound clips: it is too loud from 12.0 s to 13.0 s", True, [range(300, 325)]),
        (replace(good(), crop_side=150), "the video has 150 px where the clip has 256 px", False,
         []),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_time(measured, sentence, serious, stretches):
    remark = only(measured)
    assert remark.sentence == sentence
    assert remark.is_serious is serious
    assert list(remark.stretches) == stretches
    assert remark.advice


@pytest.mark.parametrize(
    ("size", "crop_side", "advice"),
    [
        (128, 1080, "prepare again with --size 256"),
        (256, 1080, "prepare again with --size 512"),
        (256, 300, "film closer"),
        (128, 200, "prepare again with --size 200"),
        (1024, 1080, "film closer"),
    ],
)
def test_a_small_face_asks_for_what_helps(size, crop_side, advice):
    measured = replace(good(), size=size, crop_side=crop_side, face=face(height=60.0))
    remark = all_remarks(measured)[0]
    assert remark.sentence == "the face is 60 px high"
    assert remark.advice == advice


def test_a_short_clip_is_good_to_know():
    short = replace(
        good(),
        **{
            name: getattr(good(), name)[:200]
            for name in ("valid", "turned_deg", "error_px", "opening",
                         "torso_confidence")
        },
        face=FaceBox(np.full(200, 120.0), np.full(200, -0.4)),
    )  # fmt: skip
    remark = only(short)
    assert remark.sentence == "the clip lasts only 8.0 s"
    assert not remark.is_serious


def test_single_samples_and_what_is_not_known_are_no_reason_to_warn():
    assert all_remarks(changed("camera_shift", 20, 0.05)) == []
    assert all_remarks(changed("strangeness", [50, 51], 9.0)) == []
    assert all_remarks(changed("turned_deg", [80, 81], 60.0)) == []
    unknown = np.full(62, np.nan)
    assert (
        all_remarks(replace(good(), camera_shift=unknown, light=unknown, background_change=unknown))
        == []
    )


def test_what_is_interpolated_where_no_face_was_found_is_not_judged():
    lost = changed("valid", slice(50, 60), False)
    for values in (lost.turned_deg, lost.error_px, lost.face.outside):
        values[50:60] = 90.0
    assert only(lost).sentence == "no face is found from 2.0 s to 2.4 s"


def test_a_moving_camera_is_not_said_to_be_a_changing_background_too():
    moving = changed("camera_shift", slice(10, 20), 0.03)
    moving.background_change[10:20] = 30
    assert only(moving).sentence.startswith("the camera moves")


def test_a_torso_that_is_never_seen_and_a_clip_without_sound_have_no_remarks_of_their_own():
    assert all_remarks(replace(good(), torso_confidence=None)) == []
    assert all_remarks(replace(good(), loudness_db=None, cut_off=None)) == []


def test_a_clip_without_any_face_still_gets_its_remarks():
    lost = replace(good(), valid=np.zeros(FRAMES, bool))
    assert [remark.sentence for remark in all_remarks(lost)] == ["no face is found all the time"]


def test_serious_remarks_come_first():
    both = replace(changed("cut_off", [240], True), level=np.full(62, 41.0))
    assert [remark.is_serious for remark in all_remarks(both)] == [True, False]
    late = replace(changed("valid", 50, False), flicker=0.09)
    assert [remark.about for remark in all_remarks(late)] == ["labels", "head"]
