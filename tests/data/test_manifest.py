"""clip.json: the schema reads what it wrote and refuses what it does not know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sspnerf.data.manifest import Camera, ClipManifest, SpeechFeature, StageRecord

CAMERA = {"fx": 80.0, "fy": 70.0, "cx": 24.0, "cy": 20.0}


def manifest(**changes):
    plain = {
        "source": "tiny",
        "frame_rate_hz": 25.0,
        "frames": 12,
        "width": 48,
        "height": 40,
        "camera": CAMERA,
        "landmark_scheme": "mesh",
        "reference_frame": 0,
        "has_speech": True,
    }
    return ClipManifest.model_validate(plain | changes)


positive = st.floats(1e-3, 1e6)
manifests = st.builds(
    ClipManifest,
    source=st.text(),
    frame_rate_hz=positive,
    frames=st.integers(101, 10**6),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    camera=st.builds(Camera, fx=positive, fy=positive, cx=positive, cy=positive),
    crop=st.none() | st.tuples(*[st.integers(0, 5000)] * 4),
    landmark_scheme=st.sampled_from(["mediapipe478", "mesh"]),
    reference_frame=st.integers(0, 100),
    has_speech=st.booleans(),
    features=st.dictionaries(
        st.text(max_size=5), st.builds(SpeechFeature, rate_hz=positive, dim=st.integers(1, 2000)),
        max_size=2,
    ),
    stages=st.dictionaries(
        st.text(max_size=5),
        st.builds(
            StageRecord,
            settings=st.dictionaries(
                st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(),
                max_size=3,
            ),
            input_hash=st.text(),
        ),
        max_size=2,
    ),
    licence=st.text(),
)  # fmt: skip


@given(manifests)
def test_reading_gives_what_was_written(written):
    assert ClipManifest.model_validate_json(written.model_dump_json()) == written


def test_the_camera_knows_the_pictures_size():
    camera = manifest().intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (80.0, 70.0, 24.0, 20.0)
    assert (camera.width, camera.height) == (48, 40)


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"framess": 3}, "framess"),
        ({"frames": 0}, "frames"),
        ({"frame_rate_hz": 0.0}, "frame_rate_hz"),
        ({"width": -1}, "width"),
        ({"height": 0}, "height"),
        ({"reference_frame": -1}, "reference_frame"),
        ({"units": "m"}, "units"),
        ({"landmark_scheme": "ibug68"}, "landmark_scheme"),
        ({"camera": CAMERA | {"fx": 0.0}}, "camera.fx"),
        ({"camera": CAMERA | {"skew": 0.0}}, "camera.skew"),
        ({"features": {"logmel": {"rate_hz": 0.0, "dim": 80}}}, "features.logmel.rate_hz"),
        ({"features": {"logmel": {"rate_hz": 100.0, "dim": 0}}}, "features.logmel.dim"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, where):
    with pytest.raises(ValidationError) as caught:
        manifest(**changes)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == where


@pytest.mark.refuses
def test_a_manifest_does_not_change():
    with pytest.raises(ValidationError):
        manifest().frames = 3


@pytest.mark.refuses
def test_the_reference_must_be_a_frame():
    assert manifest(reference_frame=11).reference_frame == 11
    with pytest.raises(ValidationError, match="reference_frame is 12; expected less than 12"):
        manifest(reference_frame=12)


def test_pieces_are_what_lies_between_cuts():
    assert manifest(frames=9, cuts=(2, 7)).pieces == [range(2), range(2, 7), range(7, 9)]
    assert manifest(frames=9).pieces == [range(9)]


@pytest.mark.refuses
@pytest.mark.parametrize("cuts", [(0,), (9,), (5, 5), (6, 2)])
def test_cuts_that_are_not_inside_are_refused(cuts):
    with pytest.raises(ValidationError, match="expected growing frames from 1 to 8"):
        manifest(frames=9, cuts=cuts)
