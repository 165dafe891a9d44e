"""The clip on disk: what is written is read, every damage is named, nothing is left behind."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sspnerf.data.clip import ARRAYS, OPTIONAL_ARRAYS, open_clip
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import Camera, ClipManifest, SpeechFeature
from sspnerf.errors import ClipError, UsageError
from sspnerf.geometry.face_mesh import FaceMesh

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]], dtype=np.float32)
MESH = FaceMesh(vertices=CORNERS, triangles=np.array([[0, 1, 2]], dtype=np.int32))


def manifest(frames, height, width, **changes):
    return ClipManifest(
        source="Vidéo de Zoë.mp4",
        frame_rate_hz=25.0,
        frames=frames,
        width=width,
        height=height,
        camera=Camera(fx=10.0, fy=10.0, cx=width / 2, cy=height / 2),
        landmark_scheme="mesh",
        reference_frame=0,
        **{"has_speech": False} | changes,
    )


def random_arrays(random, frames, height, width):
    """One array for each name, of the documented type and shape."""
    lengths = {"frames": frames, "height": height, "width": width, "points": 3}
    arrays = {}
    for name, spec in ARRAYS.items():
        shape = [lengths.get(axis, axis) for axis in spec.shape]
        arrays[name] = random.integers(0, 255, shape).astype(spec.dtype)
    return arrays


def fill(writer, arrays, height, width):
    for name, array in arrays.items():
        writer.write_array(name, array)
    writer.write_mesh(MESH)
    writer.write_background(np.full((height, width, 3), 7, dtype=np.uint8))


def write_small(path, *, overwrite=False, value=1, **changes):
    """A whole clip of 2 frames of 4 x 5 px."""
    arrays = {
        name: np.full([{"frames": 2, "height": 4, "width": 5, "points": 3}.get(a, a)
                       for a in spec.shape], value, dtype=spec.dtype)
        for name, spec in ARRAYS.items()
    }  # fmt: skip
    with ClipWriter(path, overwrite=overwrite) as writer:
        fill(writer, arrays, 4, 5)
        if "features" in changes:
            writer.write_feature("logmel", np.zeros((8, 3), np.float32))
        return writer.commit(manifest(2, 4, 5, **changes))


@pytest.fixture
def whole(tiny_clip, tmp_path):
    """A copy of the tiny clip that a test may damage."""
    return Path(shutil.copytree(tiny_clip.path, tmp_path / "clip"))


@settings(max_examples=10)
@given(
    st.integers(1, 4), st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1),
    st.booleans(),
)  # fmt: skip
def test_reading_gives_what_was_written(frames, height, width, seed, by_map):
    random = np.random.default_rng(seed)
    arrays = random_arrays(random, frames, height, width)
    feature = random.normal(size=(5, 3)).astype(np.float32)
    sound = np.round(random.uniform(-0.9, 0.9, 160) * 32768) / 32768
    told = manifest(
        frames, height, width, has_speech=True, features={"own": SpeechFeature(rate_hz=50, dim=3)}
    )
    with tempfile.TemporaryDirectory() as folder:
        with ClipWriter(Path(folder) / "deep" / "clip") as writer:
            fill(writer, arrays, height, width)
            if by_map:
                writer.create_array("frames", arrays["frames"].shape)[:] = arrays["frames"]
            writer.write_speech(sound.astype(np.float32))
            writer.write_feature("own", feature)
            writer.write_truth("distance", feature[0])
            writer.commit(told)
        clip = open_clip(Path(folder) / "deep" / "clip")
        assert clip.manifest == told
        for name, array in arrays.items():
            np.testing.assert_array_equal(getattr(clip, name), array)
            assert getattr(clip, name).dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(clip.mesh.vertices, CORNERS)
        np.testing.assert_array_equal(clip.mesh.triangles, MESH.triangles)
        np.testing.assert_array_equal(clip.background, np.full((height, width, 3), 7))
        np.testing.assert_array_equal(clip.speech(), sound.astype(np.float32))
        np.testing.assert_array_equal(clip.feature("own"), feature)
        np.testing.assert_array_equal(clip.truth("distance"), feature[0])


def test_arrays_are_maps_that_cannot_be_written(tiny_clip):
    for name in ARRAYS:
        array = getattr(tiny_clip, name)
        assert not array.flags.writeable
        assert isinstance(array.base, np.memmap)


def test_the_tiny_clip_is_what_it_says(tiny_clip):
    assert (tiny_clip.poses[0] == tiny_clip.torso_poses[0]).all()
    shown = tiny_clip.labels != 0
    assert ((tiny_clip.mask == 255) == shown).all()
    assert (tiny_clip.frames[~shown] == np.broadcast_to(
        tiny_clip.background, tiny_clip.frames.shape)[~shown]).all()  # fmt: skip
    # The mouth is open as wide as the speech is loud.
    interior = (tiny_clip.labels == 6).sum(axis=(1, 2))
    assert np.corrcoef(interior, tiny_clip.truth("mouth"))[0, 1] > 0.95


@pytest.mark.refuses
@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_clip_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("hello")
    expected = r"does not exist|is no clip: it has no clip\.json"
    with pytest.raises(ClipError, match=expected) as caught:
        open_clip(tmp_path / name)
    assert "sspnerf prepare" in caught.value.hint


@pytest.mark.refuses
@pytest.mark.parametrize(
    "name",
    [*(f"{name}.npy" for name in ARRAYS if name not in OPTIONAL_ARRAYS), "mesh.npz",
     "background.png", "speech.wav", "features/logmel.npy"],
)  # fmt: skip
def test_a_missing_file_is_named(whole, name):
    (whole / name).unlink()
    with pytest.raises(ClipError, match=f"is damaged: {name} is missing"):
        open_clip(whole)


def test_the_torso_is_believed_where_nobody_said_how_well_it_is_known(whole):
    clip = open_clip(whole)
    assert clip.torso_confidence[0] == 0.5
    (whole / "torso_confidence.npy").unlink()
    np.testing.assert_array_equal(open_clip(whole).torso_confidence, 1)


@pytest.mark.refuses
@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAYS), "features/logmel.npy"])
@pytest.mark.parametrize("content", ["empty", "text", "half", "objects"])
def test_a_broken_array_is_named(whole, name, content):
    file = whole / name
    if content == "objects":
        np.save(file, np.array([None, {}]))
    else:
        cut = {"empty": b"", "text": b"not an array", "half": file.read_bytes()[:-3]}
        file.write_bytes(cut[content])
    with pytest.raises(ClipError, match=f"is damaged: {name}:"):
        open_clip(whole)


@pytest.mark.refuses
@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAYS), "features/logmel.npy"])
def test_another_number_type_is_named(whole, name):
    np.save(whole / name, np.load(whole / name).astype(np.float64))
    with pytest.raises(ClipError, match=f"{name} is float64 .* expected"):
        open_clip(whole)


@pytest.mark.refuses
@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAYS), "features/logmel.npy"])
def test_another_shape_is_named(whole, name):
    axis = -1 if name.startswith("features") else 0
    array = np.load(whole / name)
    np.save(whole / name, array.take(range(array.shape[axis] - 1), axis=axis))
    with pytest.raises(ClipError, match=rf"{name} is \w+ \(.*\); expected"):
        open_clip(whole)


@pytest.mark.refuses
@pytest.mark.parametrize("name", ["frames", "poses", "landmarks"])
def test_a_missing_axis_is_named(whole, name):
    np.save(whole / f"{name}.npy", np.load(whole / f"{name}.npy")[0])
    with pytest.raises(ClipError, match=rf"{name}\.npy is \w+ \(.*\); expected"):
        open_clip(whole)


@pytest.mark.refuses
@pytest.mark.parametrize("content", [b"", b"PK nonsense", None])
def test_a_broken_mesh_is_named(whole, content):
    if content is None:
        np.savez(whole / "mesh.npz", corners=CORNERS)
    else:
        (whole / "mesh.npz").write_bytes(content)
    with pytest.raises(ClipError, match=r"is damaged: mesh\.npz"):
        open_clip(whole)


@pytest.mark.refuses
@pytest.mark.parametrize("triangle", [[0, 1, 3], [-1, 0, 1]])
def test_a_triangle_without_its_corner_is_named(whole, triangle):
    np.savez(whole / "mesh.npz", vertices=CORNERS, triangles=np.array([triangle]))
    expected = r"mesh\.npz holds vertices \(3, 3\) and triangles \(1, 3\)"
    with pytest.raises(ClipError, match=expected):
        open_clip(whole)


@pytest.mark.refuses
def test_a_broken_or_foreign_background_is_named(whole):
    Image.new("RGB", (48, 47)).save(whole / "background.png")
    with pytest.raises(ClipError, match=r"background\.png is 48 x 47 px; expected 48 x 48"):
        open_clip(whole)
    (whole / "background.png").write_bytes(b"no picture")
    with pytest.raises(ClipError, match=r"is damaged: background\.png"):
        open_clip(whole)


@pytest.mark.refuses
@pytest.mark.parametrize("version", [0, 1, 99, "2", None])
def test_another_schema_version_is_refused(whole, version):
    content = json.loads((whole / "clip.json").read_text()) | {"schema_version": version}
    (whole / "clip.json").write_text(json.dumps(content))
    with pytest.raises(ClipError, match=f"schema version {version}; this sspnerf reads 2"):
        open_clip(whole)


@pytest.mark.refuses
def test_an_unknown_key_is_named(whole):
    content = json.loads((whole / "clip.json").read_text())
    content["camera"]["skew"] = 0.0
    (whole / "clip.json").write_text(json.dumps(content))
    with pytest.raises(ClipError, match=r"clip\.json is damaged: camera\.skew: Extra inputs"):
        open_clip(whole)


@pytest.mark.refuses
@pytest.mark.parametrize("text", ["", "{", "[]", b"\xff\xfe"])
def test_a_manifest_that_cannot_be_read_is_named(whole, text):
    (whole / "clip.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ClipError, match=r"clip\.json is damaged"):
        open_clip(whole)


@pytest.mark.refuses
def test_sound_features_and_truth_that_are_not_there_are_refused(tmp_path):
    clip = write_small(tmp_path / "clip")
    with pytest.raises(ClipError, match="has no sound") as caught:
        clip.speech()
    assert "--speech" in caught.value.hint
    with pytest.raises(ClipError, match="no speech features named logmel; it has: none"):
        clip.feature("logmel")
    with pytest.raises(ClipError, match="holds no truth named distance"):
        clip.truth("distance")


@pytest.mark.refuses
def test_a_feature_of_another_name_lists_what_is_there(tiny_clip):
    with pytest.raises(ClipError, match="named hubert; it has: logmel"):
        tiny_clip.feature("hubert")


def test_an_aborted_writer_leaves_nothing(tmp_path):
    def interrupted():
        with ClipWriter(tmp_path / "clip") as writer:
            writer.write_mesh(MESH)
            assert list(tmp_path.iterdir()) != []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def commit_half(path, *, overwrite=False):
    with ClipWriter(path, overwrite=overwrite) as writer:
        writer.write_mesh(MESH)
        writer.commit(manifest(2, 4, 5))


def test_a_failed_commit_leaves_nothing(tmp_path):
    with pytest.raises(ClipError, match=r"frames\.npy is missing"):
        commit_half(tmp_path / "clip")
    assert list(tmp_path.iterdir()) == []


def test_a_feature_that_is_told_but_not_written_fails(tmp_path):
    told = {"other": SpeechFeature(rate_hz=100, dim=3)}
    with pytest.raises(ClipError, match=r"features/other\.npy is missing"):
        write_small(tmp_path / "clip", features=told)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_clip_is_kept(tmp_path):
    write_small(tmp_path / "clip", value=1)
    with pytest.raises(UsageError, match="exists already") as caught:
        ClipWriter(tmp_path / "clip")
    assert "--overwrite" in caught.value.hint
    assert open_clip(tmp_path / "clip").valid.all()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_an_overwritten_clip_is_replaced_whole(tmp_path):
    write_small(tmp_path / "clip", value=1, features={"logmel": SpeechFeature(rate_hz=9, dim=3)})
    clip = write_small(tmp_path / "clip", value=2, overwrite=True)
    assert (clip.labels == 2).all()
    assert not (clip.path / "features").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_a_failed_overwrite_keeps_the_old_clip(tmp_path):
    write_small(tmp_path / "clip", value=1)
    with pytest.raises(ClipError, match=r"frames\.npy is missing"):
        commit_half(tmp_path / "clip", overwrite=True)
    assert (open_clip(tmp_path / "clip").labels == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_what_a_killed_writer_left_does_not_matter(tmp_path):
    for name in (".clip.partial", ".clip.discarded"):
        (tmp_path / name / "features").mkdir(parents=True)
        (tmp_path / name / "frames.npy").write_text("half a clip")
    write_small(tmp_path / "clip", value=1)
    write_small(tmp_path / "clip", value=2, overwrite=True)
    assert (open_clip(tmp_path / "clip").labels == 2).all()
    assert not (tmp_path / "clip" / "features").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


@pytest.mark.refuses
def test_something_that_is_no_clip_is_never_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("ten years of work")
    (tmp_path / "film.mp4").write_text("a film")
    for name in ("thesis", "film.mp4"):
        with pytest.raises(UsageError, match=f"{name} is no clip and is not overwritten"):
            ClipWriter(tmp_path / name, overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "ten years of work"
    assert (tmp_path / "film.mp4").read_text() == "a film"


def test_an_empty_folder_may_become_a_clip_with_overwrite(tmp_path):
    (tmp_path / "clip").mkdir()
    assert write_small(tmp_path / "clip", overwrite=True).manifest.frames == 2
