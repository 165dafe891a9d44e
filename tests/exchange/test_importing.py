"""Layout -> clip: what comes back from an export, and layouts of others."""

import os
import shutil
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sspnerf.data.clip import open_clip
from sspnerf.errors import MediaError, UsageError
from sspnerf.exchange import importing
from sspnerf.exchange.exporting import export_clip
from sspnerf.exchange.importing import import_clip
from sspnerf.geometry.cameras import project_points
from tiny_speaker import FRAMES, SIZE, with_changes
from written_layout import change_transforms, write_layout

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLIPS = Path(os.environ.get("SSPNERF_CLIPS", SHARED / "clips"))
MODELS = Path(os.environ.get("SSPNERF_MODELS", SHARED / "models"))
REAL_FRAMES, REAL_SIZE = 40, 128
has_models = pytest.mark.skipif(
    not (MODELS / "face_landmarker.task").is_file(), reason=f"no model files in {MODELS}"
)
has_clips = pytest.mark.skipif(
    not (CLIPS / "de_20s.mp4").is_file(), reason=f"no real clips in {CLIPS}"
)
EXACT = ("labels", "mask", "landmarks", "torso_poses", "blendshapes", "valid")


@pytest.fixture
def layout(tiny_clip, tmp_path):
    return export_clip(tiny_clip.path, tmp_path / "layout")


@pytest.mark.parametrize("kind", ["ernerf", "radnerf", "adnerf"])
def test_a_clip_comes_back_as_it_went(tiny_clip, tmp_path, kind):
    folder = export_clip(tiny_clip.path, tmp_path / "layout", layout=kind)
    told = []
    back = import_clip(folder, tmp_path / "clip", warn=told.append)
    assert told == []
    for name in EXACT:
        np.testing.assert_array_equal(getattr(back, name), getattr(tiny_clip, name), err_msg=name)
    np.testing.assert_allclose(back.poses, tiny_clip.poses, atol=1e-5)
    # JPEG at 48 px: a person, not noise.
    assert np.abs(back.frames.astype(int) - tiny_clip.frames).mean() < 3
    assert np.abs(back.background.astype(int) - tiny_clip.background).mean() < 1.5
    np.testing.assert_allclose(back.speech(), tiny_clip.speech(), atol=1 / 32768)
    np.testing.assert_array_equal(back.feature("logmel"), tiny_clip.feature("logmel"))
    np.testing.assert_array_equal(back.mesh.vertices, tiny_clip.mesh.vertices)
    same = {"stages": {}}
    assert back.manifest.model_copy(update=same) == tiny_clip.manifest.model_copy(update=same)
    assert set(back.manifest.stages) == {*tiny_clip.manifest.stages, "import"}


def test_a_clip_that_came_back_is_split_and_exported_the_same(tiny_clip, layout, tmp_path):
    again = export_clip(import_clip(layout, tmp_path / "clip").path, tmp_path / "again")
    for part in ("train", "val"):
        first, second = (
            (folder / f"transforms_{part}.json").read_text() for folder in (layout, again)
        )
        assert first.count("img_id") == second.count("img_id")
    np.testing.assert_array_equal(np.load(again / "aud.npy"), np.load(layout / "aud.npy"))


def test_cuts_crop_and_lost_frames_come_back(tiny_clip, tmp_path):
    valid = np.ones(FRAMES, bool)
    valid[[0, 4]] = False
    told = {"cuts": [6], "crop": [10, 20, 110, 120], "source": "may.mp4", "licence": "hers"}
    clip = with_changes(tiny_clip, tmp_path / "clip", manifest=told, valid=valid)
    layout = export_clip(clip.path, tmp_path / "layout")
    back = import_clip(layout, tmp_path / "back")
    assert back.manifest.frames == FRAMES
    np.testing.assert_array_equal(back.valid, valid)
    same = {"stages": {}}
    assert back.manifest.model_copy(update=same) == clip.manifest.model_copy(update=same)
    np.testing.assert_allclose(back.poses[valid], clip.poses[valid], atol=1e-5)


def test_a_camera_that_was_removed_since_is_interpolated_and_not_valid(tiny_clip, layout, tmp_path):
    change_transforms(layout, lambda told: told["frames"].pop(5))
    told = []
    back = import_clip(layout, tmp_path / "back", warn=told.append)
    assert told == ["1 of 12 frames have no transform_matrix; interpolated there"]
    assert np.flatnonzero(~back.valid).tolist() == [5]
    between = (tiny_clip.poses[4, :3, 3] + tiny_clip.poses[6, :3, 3]) / 2
    np.testing.assert_allclose(back.poses[5, :3, 3], between, atol=1e-4)


def test_another_size_scales_pictures_camera_and_landmarks(tiny_clip, layout, tmp_path):
    small = import_clip(layout, tmp_path / "clip", size=24)
    assert small.frames.shape == (FRAMES, 24, 24, 3)
    assert small.manifest.camera.fx == tiny_clip.manifest.camera.fx / 2
    np.testing.assert_allclose(small.landmarks, np.asarray(tiny_clip.landmarks) / 2)
    means = np.asarray(tiny_clip.frames).reshape(FRAMES, 24, 2, 24, 2, 3).mean(axis=(2, 4))
    assert np.abs(small.frames - means).mean() < 3


def test_features_that_were_added_since_are_taken_too(tiny_clip, layout, tmp_path):
    blocks = np.random.default_rng(0).normal(size=(FRAMES, 16, 29)).astype(np.float32)
    np.save(layout / "aud_ds.npy", blocks)
    clip = import_clip(layout, tmp_path / "clip")
    assert sorted(clip.manifest.features) == ["aud_ds", "logmel"]
    assert clip.manifest.features["aud_ds"].rate_hz == 25.0
    np.testing.assert_array_equal(clip.feature("aud_ds"), blocks.reshape(FRAMES, -1))
    # And go out again in their own form.
    again = export_clip(clip.path, tmp_path / "again")
    np.testing.assert_array_equal(np.load(again / "aud_ds.npy"), blocks)
    assert np.load(again / "aud.npy").shape == (FRAMES, 16, 80)


def test_a_frame_rate_that_is_told_counts(layout, tmp_path):
    told = []
    clip = import_clip(layout, tmp_path / "clip", frame_rate_hz=12.5, warn=told.append)
    assert clip.manifest.frame_rate_hz == 12.5
    # Half a second less sound than picture is told of, less is not.
    assert told == []
    slow = import_clip(layout, tmp_path / "slow", frame_rate_hz=5, warn=told.append)
    assert slow.manifest.frame_rate_hz == 5
    assert told[0].startswith("the sound lasts 0.5 s and the picture 2.4 s at 5 frames/s")


def test_progress_counts_frames(layout, tmp_path):
    told = []
    import_clip(layout, tmp_path / "clip", progress=lambda *done: told.append(done))
    assert told == [(index, FRAMES) for index in range(1, FRAMES + 1)]


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("settings", "message"),
    [({"size": 3}, "--size is 3; expected 16"), ({"frame_rate_hz": 0}, "--frame-rate-hz is 0")],
)
def test_settings_out_of_range_are_refused(layout, tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        import_clip(layout, tmp_path / "clip", **settings)
    assert not (tmp_path / "clip").exists()


@pytest.mark.refuses
def test_an_existing_clip_is_not_overwritten_unasked(tiny_clip, layout):
    with pytest.raises(UsageError, match="exists already"):
        import_clip(layout, tiny_clip.path)


def damaged_version(layout):
    path = layout / "sspnerf" / "side.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 9'))


DAMAGED = {
    "version": (damaged_version, "has version 9; this sspnerf reads 1"),
    "side.json": (lambda f: (f / "sspnerf" / "side.json").write_text("{"), "is damaged: "),
    "arrays": (lambda f: (f / "sspnerf" / "arrays.npz").write_bytes(b"none"), "is damaged: "),
    "labels": (lambda f: (f / "sspnerf" / "labels" / "3.png").unlink(), r"3\.png cannot be read"),
    "bc.jpg": (lambda f: (f / "bc.jpg").unlink(), r"has no bc\.jpg"),
    "sound": (lambda f: (f / "aud.wav").write_bytes(b"no sound"), r"aud\.wav"),
}


@pytest.mark.refuses
@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_export_is_refused_and_leaves_nothing(layout, tmp_path, case):
    damage, message = DAMAGED[case]
    damage(layout)
    with pytest.raises(MediaError, match=message):
        import_clip(layout, tmp_path / "clip")
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


@pytest.mark.refuses
def test_pictures_of_another_size_than_the_side_folder_tells_are_refused(layout, tmp_path):
    for path in (layout / "ori_imgs").glob("*.jpg"):
        Image.open(path).resize((SIZE * 2, SIZE * 2)).save(path)
    for part in ("train", "val"):
        change_transforms(layout, lambda told: told.update(w=SIZE * 2, h=SIZE * 2), part)
    with pytest.raises(MediaError, match="tells of 48 x 48"):
        import_clip(layout, tmp_path / "clip")


@has_models
@pytest.mark.refuses
def test_pictures_in_which_no_face_is_found_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("mediapipe")
    monkeypatch.setenv("SSPNERF_MODELS", str(MODELS))
    layout = write_layout(tmp_path / "layout")
    with pytest.raises(MediaError, match="ori_imgs shows no face that MediaPipe finds"):
        import_clip(layout, tmp_path / "clip")
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


@pytest.mark.refuses
def test_pictures_that_are_no_squares_are_refused(tmp_path):
    layout = write_layout(tmp_path / "layout")
    for path in (layout / "ori_imgs").iterdir():
        Image.open(path).resize((70, 64)).save(path)
    with pytest.raises(MediaError, match="are 70 x 64 px; expected squares"):
        import_clip(layout, tmp_path / "clip")


def test_blinks_of_lost_frames_come_from_the_table(tmp_path):
    (tmp_path / "au.csv").write_text("frame, AU45_r\n1, 0\n2, 5\n3, 2.5\n4, 1\n")
    job = SimpleNamespace(layout=SimpleNamespace(path=tmp_path, ids=range(1, 5)))
    seen = np.array([True, False, True, False])
    shapes = importing._with_blinks(job, np.full((4, 52), 0.3, np.float32), seen)
    # Rows 1 to 3 of the table are frames 0 to 2; it has no row for the last.
    np.testing.assert_allclose(shapes[:, 9], [0.3, 0.5, 0.3, 0.3])
    np.testing.assert_allclose(shapes[:, 10], shapes[:, 9])
    np.testing.assert_allclose(np.delete(shapes, [9, 10], axis=1), 0.3)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A real clip, prepared small, and exported without our side folder."""
    pytest.importorskip("mediapipe")
    from sspnerf.config import PrepareConfig
    from sspnerf.media.audio import read_waveform
    from sspnerf.media.film_writer import FilmWriter
    from sspnerf.media.video import probe_video, resampled_frames
    from sspnerf.prepare.pipeline import prepare

    folder = tmp_path_factory.mktemp("real")
    source, video = CLIPS / "de_20s.mp4", folder / "short.mp4"
    info = probe_video(source)
    sound = read_waveform(source)[: round(16000 * REAL_FRAMES / 25)]
    with FilmWriter(
        video, width=info.width, height=info.height, frame_rate_hz=25, waveform=sound
    ) as film:
        for frame in islice(resampled_frames(source, 25), REAL_FRAMES):
            film.write(frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSPNERF_MODELS", str(MODELS))
        clip = prepare(video, folder / "clip", PrepareConfig(size=REAL_SIZE))
        layout = export_clip(clip.path, folder / "layout")
        shutil.rmtree(layout / "sspnerf")
        yield clip, layout


def seen_vertices(clip):
    """Where the mesh appears in each frame. Shape (frames, vertices, 2)."""
    vertices = torch.from_numpy(clip.mesh.vertices)
    poses = torch.from_numpy(np.array(clip.poses))[:, None]
    return project_points(
        clip.manifest.intrinsics,
        poses.expand(-1, len(vertices), 4, 4),
        vertices.expand(len(poses), -1, 3),
    ).numpy()


def chest_motion(clip):
    """Where points of the chest appear, against the reference frame. Shape (frames, 3, 2)."""
    points = torch.tensor([[-8.0, -18.0, -5.0], [0.0, -16.0, -3.0], [8.0, -18.0, -5.0]])
    poses = torch.from_numpy(np.array(clip.torso_poses))[:, None].expand(-1, 3, 4, 4)
    places = project_points(clip.manifest.intrinsics, poses, points.expand(len(poses), 3, 3))
    return (places - places[clip.manifest.reference_frame]).numpy()


def overlap(first, second, label):
    first, second = first == label, second == label
    return (first & second).sum() / (first | second).sum()


@pytest.mark.slow
@has_models
@has_clips
def test_a_real_clip_comes_back_without_our_side_folder(real, tmp_path):
    clip, layout = real
    told = []
    back = import_clip(layout, tmp_path / "clip", warn=told.append)
    assert told == []
    assert back.manifest.landmark_scheme == "mediapipe478"
    assert back.manifest.stages["import"].settings["cm_per_unit"] == pytest.approx(100, abs=5)
    off = np.linalg.norm(seen_vertices(back) - seen_vertices(clip), axis=-1)
    assert off.max() < 1.0
    assert np.sqrt((off**2).mean()) < 0.4
    bare, dress = {"background": 0.99, "neck": 0.99, "torso": 0.99}, {"skin": 0.95, "hair": 0.95}
    from sspnerf.data.semantics import CLASS_NAMES

    for name, least in {**bare, **dress, "nose": 0.9, "lip": 0.8, "eye": 0.75}.items():
        assert overlap(back.labels, clip.labels, CLASS_NAMES.index(name)) > least, name
    assert (back.labels == clip.labels).mean() > 0.985
    assert np.abs(back.mask.astype(int) - clip.mask).mean() < 4
    # The chest moves in the picture as it did: aligned twice, each hardly smoothed.
    strayed = np.abs(chest_motion(back) - chest_motion(clip))
    assert strayed.max() < 1.5
    assert np.sqrt((strayed**2).mean()) < 0.5
    np.testing.assert_allclose(back.speech(), clip.speech(), atol=1 / 32768)
    assert back.manifest.features["aud"].dim == 16 * 80


@pytest.mark.slow
@has_models
@has_clips
def test_a_layout_of_another_world_without_parsing_becomes_the_same_clip(real, tmp_path):
    """Their head model has another origin, another unit and looks another way."""
    clip, layout = real
    moved = shutil.copytree(layout, tmp_path / "layout")
    shutil.rmtree(moved / "parsing")
    (moved / "bc.jpg").unlink()
    (moved / "aud.wav").unlink()
    angle = np.radians(12)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]

    def change(told):
        for frame in told["frames"]:
            matrix = turn @ np.array(frame["transform_matrix"])
            matrix[:3, 3] = 1.3 * matrix[:3, 3] + [0.02, -0.05, 0.03]
            frame["transform_matrix"] = matrix.tolist()

    for part in ("train", "val"):
        change_transforms(moved, change, part)
    told = []
    back = import_clip(moved, tmp_path / "clip", warn=told.append)
    assert [line.split(" ", 1)[1] for line in told if "bc.jpg" not in line] == [
        "has no aud.wav: no sound; train the clip with --speech FILE"
    ]
    assert any("has no bc.jpg; the background is made from the pictures" in line for line in told)
    assert not back.manifest.has_speech
    scale = back.manifest.stages["import"].settings["cm_per_unit"]
    assert scale == pytest.approx(100 / 1.3, rel=0.05)
    off = np.linalg.norm(seen_vertices(back) - seen_vertices(clip), axis=-1)
    assert off.max() < 1.0
    # Cameras stand where ours do, within what a face tells of its own size.
    away = np.linalg.norm(back.poses[:, :3, 3] - clip.poses[:, :3, 3], axis=1)
    assert away.max() < 3.0
    assert (back.labels == clip.labels).mean() > 0.95
    assert open_clip(back.path).background.shape == (REAL_SIZE, REAL_SIZE, 3)
