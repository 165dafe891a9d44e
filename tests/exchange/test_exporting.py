"""The layout that we write, read as their programs read it."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from sspnerf.data.semantics import SemanticClass
from sspnerf.errors import ClipError, UsageError
from sspnerf.exchange.exporting import export_clip
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import speech_windows
from tiny_speaker import FOCAL_PX, FRAMES, SIZE, project, with_changes


@pytest.fixture(scope="module")
def exported(tiny_clip, tmp_path_factory):
    """For ER-NeRF."""
    return export_clip(tiny_clip.path, tmp_path_factory.mktemp("export") / "tiny")


def transforms(folder):
    return [
        json.loads((folder / f"transforms_{part}.json").read_text()) for part in ("train", "val")
    ]


def test_frames_are_split_as_theirs_are(exported):
    train, val = transforms(exported)
    # int(12 * 10 / 11) frames for training.
    assert [frame["img_id"] for frame in train["frames"]] == list(range(10))
    assert [frame["aud_id"] for frame in val["frames"]] == [10, 11]
    assert (train["focal_len"], train["cx"], train["cy"]) == (FOCAL_PX, SIZE / 2, SIZE / 2)
    assert (val["w"], val["h"]) == (SIZE, SIZE)


def test_the_face_appears_where_their_formula_puts_it(tiny_clip, exported):
    train, val = transforms(exported)
    for frame in train["frames"] + val["frames"]:
        matrix = np.array(frame["transform_matrix"])
        points = tiny_clip.mesh.vertices / 100
        x, y, z = ((points - matrix[:3, 3]) @ matrix[:3, :3]).T
        theirs = np.stack((SIZE / 2 - FOCAL_PX * x / z, SIZE / 2 + FOCAL_PX * y / z), axis=1)
        ours = project(np.asarray(tiny_clip.poses[frame["img_id"]]), tiny_clip.mesh.vertices)
        np.testing.assert_allclose(theirs, ours[:, :2], atol=1e-3)
        # A face is centimetres from the origin and their camera looks along -z.
        assert (z < -0.4).all()


def test_face_rectangles_are_x_y_width_height_around_the_face(tiny_clip, exported):
    for frame in transforms(exported)[0]["frames"]:
        x, y, width, height = frame["face_rect"]
        shown = tiny_clip.labels[frame["img_id"]]
        rows, columns = np.nonzero(
            np.isin(shown, (SemanticClass.EYE, SemanticClass.NOSE, SemanticClass.LIP))
        )
        assert x <= columns.min()
        assert columns.max() < x + width <= SIZE
        assert y <= rows.min()
        assert rows.max() < y + height <= SIZE


def test_pictures_show_what_their_names_say(tiny_clip, exported):
    labels = tiny_clip.labels[3]
    original = np.array(Image.open(exported / "ori_imgs" / "3.jpg")).astype(int)
    assert np.abs(original - tiny_clip.frames[3]).mean() < 3
    behind = np.array(Image.open(exported / "bc.jpg")).astype(int)
    assert np.abs(behind - tiny_clip.background).mean() < 1.5
    person = np.array(Image.open(exported / "gt_imgs" / "3.jpg")).astype(int)
    assert np.abs(person - tiny_clip.frames[3]).mean() < 3
    torso = np.array(Image.open(exported / "torso_imgs" / "3.png"))
    body = labels == SemanticClass.TORSO
    np.testing.assert_array_equal(torso[body, :3], tiny_clip.frames[3][body])
    assert (torso[body, 3] == 255).all()
    assert not torso[labels == SemanticClass.BACKGROUND, 3].any()
    parsing = np.array(Image.open(exported / "parsing" / "3.png"))
    np.testing.assert_array_equal(parsing[body], np.tile([255, 0, 0], (body.sum(), 1)))


def test_sound_features_and_blinks_belong_to_their_frames(tiny_clip, exported):
    heard = read_waveform(exported / "aud.wav")
    np.testing.assert_allclose(heard, tiny_clip.speech(), atol=1 / 32768)
    blocks = np.load(exported / "aud.npy")
    assert (blocks.shape, blocks.dtype) == ((FRAMES, 16, 80), np.float32)
    # 16 steps of 20 ms around the middle of the frame: every other of our 100 per second.
    around = speech_windows(
        tiny_clip.feature("logmel"), rate_hz=100.0, frame_times_s=np.array([5.5 / 25]), window=32
    )
    np.testing.assert_array_equal(blocks[5], around[0, 1::2])
    with (exported / "au.csv").open() as file:
        strength = [float(row[" AU45_r"]) for row in csv.DictReader(file)]
    assert strength == [5.0 if index == 5 else 0.0 for index in range(FRAMES)]
    points = np.loadtxt(exported / "ori_imgs" / "5.lms")
    assert points.shape == (68, 2)


@pytest.mark.parametrize(
    ("layout", "there", "not_there"),
    [
        ("ernerf", ("gt_imgs", "torso_imgs", "au.csv"), ("head_imgs", "HeadNeRF_config.txt")),
        ("radnerf", ("gt_imgs", "torso_imgs"), ("au.csv", "head_imgs")),
        ("adnerf", ("head_imgs", "com_imgs", "TorsoNeRF_config.txt"), ("gt_imgs", "au.csv")),
    ],
)
def test_each_reader_gets_its_files(tiny_clip, tmp_path, layout, there, not_there):
    folder = export_clip(tiny_clip.path, tmp_path / "tiny", layout=layout)
    assert all((folder / name).exists() for name in (*there, "ori_imgs", "parsing", "aud.npy"))
    assert not any((folder / name).exists() for name in not_there)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_ad_nerf_gets_heads_alone_and_knows_where_to_look(tiny_clip, tmp_path):
    folder = export_clip(tiny_clip.path, tmp_path / "tiny", layout="adnerf")
    head = np.array(Image.open(folder / "head_imgs" / "0.jpg")).astype(int)
    labels = tiny_clip.labels[0]
    off = np.abs(head - tiny_clip.background).mean(axis=-1)
    assert off[labels == SemanticClass.TORSO].mean() < 6
    assert off[labels == SemanticClass.SKIN].mean() > 20
    told = dict(
        line.split(" = ") for line in (folder / "HeadNeRF_config.txt").read_text().splitlines()
    )
    # The camera stands 60 cm in front: 20 cm before it to 40 cm behind it.
    assert float(told["near"]) == pytest.approx(0.4, abs=0.01)
    assert float(told["far"]) == pytest.approx(1.0, abs=0.01)
    assert told["datadir"] == str(folder.resolve())


def test_a_lost_frame_has_a_picture_and_no_camera(tiny_clip, tmp_path):
    valid = np.ones(FRAMES, bool)
    valid[4] = False
    clip = with_changes(tiny_clip, tmp_path / "clip", valid=valid)
    folder = export_clip(clip.path, tmp_path / "tiny")
    assert 4 not in [frame["img_id"] for frame in transforms(folder)[0]["frames"]]
    assert (folder / "ori_imgs" / "4.jpg").is_file()
    assert not (folder / "ori_imgs" / "4.lms").exists()


@pytest.mark.refuses
def test_an_existing_folder_is_not_overwritten_unasked(tiny_clip, exported, tmp_path):
    with pytest.raises(UsageError, match="exists already"):
        export_clip(tiny_clip.path, exported)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "dear.txt").write_text("to me")
    with pytest.raises(UsageError, match="is no data layout and is not overwritten"):
        export_clip(tiny_clip.path, mine, overwrite=True)
    assert (mine / "dear.txt").read_text() == "to me"


def test_a_layout_is_replaced_when_asked(tiny_clip, tmp_path):
    folder = export_clip(tiny_clip.path, tmp_path / "tiny", layout="adnerf")
    export_clip(tiny_clip.path, folder, layout="radnerf", overwrite=True)
    assert not (folder / "head_imgs").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.refuses
def test_what_cannot_be_said_is_refused_and_leaves_nothing(tiny_clip, tmp_path):
    camera = {"fx": 80.0, "fy": 70.0, "cx": 24.0, "cy": 24.0}
    wide = with_changes(tiny_clip, tmp_path / "wide", manifest={"camera": camera})
    with pytest.raises(ClipError, match="focal lengths 80 and 70 px; the layout has one"):
        export_clip(wide.path, tmp_path / "tiny")
    lost = with_changes(tiny_clip, tmp_path / "lost", valid=np.arange(FRAMES) < 10)
    with pytest.raises(ClipError, match="none that is held out"):
        export_clip(lost.path, tmp_path / "tiny")
    with pytest.raises(UsageError, match="unknown layout nerface"):
        export_clip(tiny_clip.path, tmp_path / "tiny", layout="nerface")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lost", "wide"]


def test_a_clip_without_sound_and_of_another_rate_is_told_of(tiny_clip, tmp_path):
    silent = {"has_speech": False, "features": {}, "frame_rate_hz": 30.0}
    clip = with_changes(tiny_clip, tmp_path / "clip", manifest=silent)
    told = []
    folder = export_clip(clip.path, tmp_path / "tiny", warn=told.append)
    assert not list(folder.glob("aud*"))
    assert [line.split(": ")[0] for line in told] == [
        f"{clip.path} has no speech features",
        "the clip has 30 frames/s; the layout's readers take 25",
    ]
