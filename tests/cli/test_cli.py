"""The command line: a wrong input is one clear line, a non-zero exit, and nothing half-written."""

import json
import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from sspnerf import cli
from sspnerf.cli import main
from sspnerf.data.semantics import color_labels
from sspnerf.media.audio import write_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.video import read_frames
from sspnerf.render.film import Torso
from sspnerf.render.show import Show


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def lines(capsys):
    return capsys.readouterr().err.strip().splitlines()


@pytest.mark.refuses
def test_a_clip_that_does_not_exist_is_named(tmp_path, capsys):
    assert run("train", tmp_path / "no", tmp_path / "run") == 1
    assert lines(capsys) == [
        f"error: {tmp_path / 'no'} does not exist",
        "hint: make one with: sspnerf prepare VIDEO CLIP, or: sspnerf synth CLIP",
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.refuses
def test_an_existing_run_is_kept(tiny_clip, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("dear to me")
    assert run("train", tiny_clip.path, tmp_path / "run") == 2
    assert "exists already" in lines(capsys)[0]
    assert (tmp_path / "run" / "mine.txt").read_text() == "dear to me"


@pytest.mark.refuses
def test_resume_takes_no_other_settings(tiny_clip, tmp_path, capsys):
    assert run("train", tiny_clip.path, tmp_path / "run", "--resume", "--steps", "3") == 2
    assert "--resume goes on with the run's own settings" in lines(capsys)[0]


@pytest.mark.refuses
def test_resume_without_a_checkpoint_says_so(tiny_clip, tmp_path, capsys):
    assert run("train", tiny_clip.path, tmp_path / "run", "--resume") == 1
    assert "no checkpoint to resume from" in lines(capsys)[0]


@pytest.mark.refuses
def test_an_unknown_flag_names_the_nearest(tmp_path, capsys):
    assert run("train", tmp_path / "clip", tmp_path / "run", "--stepz", "3") == 2
    shown = capsys.readouterr().err
    assert "--stepz" in shown
    assert "--steps" in shown


@pytest.mark.refuses
def test_an_unknown_setting_in_a_file_names_the_nearest(tmp_path, capsys):
    settings = tmp_path / "mine.toml"
    settings.write_text("[field]\nhiden = 64\n")
    code = run("train", tmp_path / "clip", tmp_path / "run", "--config", settings)
    assert code == 2
    assert lines(capsys) == [
        "error: unknown setting field.hiden",
        "hint: did you mean field.hidden?",
    ]


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--field.hidden 3", "field.hidden is 3; expected"),
        ("--preset paper --volume.near 95000", "volume.near is 95000; expected"),
        ("--preset paper --volume.near 95 --volume.far 60", "volume.near is 95; expected less"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_range(tmp_path, capsys, options, message):
    """Parts of the settings are built by tyro, which draws a box around what they refuse."""
    assert run("train", tmp_path / "clip", tmp_path / "run", *options.split()) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--architecture head-and-torso", "parsing is on; architecture head-and-torso has no"),
        ("--architecture perceptron", "deformation.form is both; architecture perceptron has no"),
        ("--rays-per-step 3", "rays_per_step is 3; expected 16 to"),
        ("--preset adnerf --parsing", "parsing is on; architecture head-and-torso has no"),
        ("--preset paper --band.samples 4", "band.* is not used by architecture perceptron"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tiny_clip, tmp_path, capsys, options, message):
    assert run("train", tiny_clip.path, tmp_path / "run", *options.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.refuses
@pytest.mark.parametrize("options", ["--volume.near 9500", "--volume.far 3"])
def test_samples_that_would_end_before_they_start_are_refused_in_the_clips_terms(
    tiny_clip, tmp_path, capsys, options
):
    preset = ["--preset", "paper"]
    assert run("train", tiny_clip.path, tmp_path / "run", *preset, *options.split()) == 2
    error, hint = lines(capsys)
    assert error.startswith("error: volume.near is ")
    assert hint == "hint: set both, or neither: the head is 60 cm from the camera"
    assert not (tmp_path / "run").exists()


def test_an_error_that_is_not_of_the_settings_is_not_hidden(monkeypatch):
    def broken():
        raise ValueError("a mistake of ours")

    monkeypatch.setitem(cli.VERBS, "info", broken)
    with pytest.raises(ValueError, match="a mistake of ours"):
        main(["info"])


@pytest.mark.refuses
def test_an_unknown_preset_is_refused(tmp_path, capsys):
    assert run("train", tmp_path / "clip", tmp_path / "run", "--preset", "fastest") == 2
    assert lines(capsys) == ["error: unknown preset fastest", "hint: known: fast, paper, adnerf"]


@pytest.mark.refuses
def test_a_folder_without_a_portrait_is_refused(tmp_path, capsys):
    assert run("render", tmp_path, tmp_path / "speech.wav", tmp_path / "film.mp4") == 1
    assert "holds no portrait" in lines(capsys)[0]


@pytest.mark.refuses
def test_an_existing_film_is_kept(tmp_path, capsys):
    (tmp_path / "film.mp4").write_bytes(b"mine")
    assert run("render", tmp_path, tmp_path / "speech.wav", tmp_path / "film.mp4") == 2
    assert (tmp_path / "film.mp4").read_bytes() == b"mine"
    assert "exists already" in lines(capsys)[0]


def test_render_offers_every_map_and_way_of_the_torso():
    offered = get_type_hints(cli.render)
    assert get_args(offered["show"]) == get_args(Show)
    assert get_args(get_args(offered["torso"])[0]) == get_args(Torso)


def test_render_writes_the_map_and_the_arrays(trained_run, tmp_path, capsys):
    write_waveform(tmp_path / "speech.wav", np.full(2 * 640, 0.1, np.float32))
    np.save(tmp_path / "poses.npy", poses_of(trained_run)[3:5])
    arrays = tmp_path / "arrays"
    options = ["--show", "semantics", "--arrays", arrays, "--poses", tmp_path / "poses.npy"]
    options += ["--jobs", "2"]
    speech, film = tmp_path / "speech.wav", tmp_path / "film.mp4"
    assert run("render", trained_run, speech, film, *options) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"film: {film} (2 frames)",
        f"arrays: {arrays}",
    ]
    ((_, shown), _) = read_frames(film)
    with np.load(arrays / "000000.npz") as kept:
        painted, color = color_labels(kept["labels"]).astype(int), kept["color"]
    assert np.abs(shown - painted).mean() < np.abs(shown - color).mean() / 3
    film.unlink()
    assert run("render", trained_run, speech, film, *options) == 2
    assert f"{arrays} is not empty" in lines(capsys)[-2]
    assert not film.exists()


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "poses.npy does not exist"),
        (b"not an array", "poses.npy is no NumPy array of numbers"),
        (np.zeros((2, 3)), "the poses have shape (2, 3); expected (frames, 4, 4)"),
        (np.full((2, 4, 4), np.nan), "pose 0 is not finite"),
        (np.zeros((2, 4, 4)), "pose 0 is not a rotation and a shift"),
    ],
)
def test_poses_that_cannot_be_shown_leave_no_film(content, message, trained_run, tmp_path, capsys):
    write_waveform(tmp_path / "speech.wav", np.full(640, 0.1, np.float32))
    poses, film = tmp_path / "poses.npy", tmp_path / "film.mp4"
    if isinstance(content, bytes):
        poses.write_bytes(content)
    elif content is not None:
        np.save(poses, content)
    assert run("render", trained_run, tmp_path / "speech.wav", film, "--poses", poses) == 2
    (line,) = [line for line in lines(capsys) if line.startswith("error: ")]
    assert message in line
    assert not film.exists()


@pytest.mark.refuses
def test_no_jobs_at_all_are_refused(trained_run, tmp_path, capsys):
    write_waveform(tmp_path / "speech.wav", np.full(640, 0.1, np.float32))
    film = tmp_path / "film.mp4"
    assert run("render", trained_run, tmp_path / "speech.wav", film, "--jobs", "0") == 2
    assert "error: jobs is 0; expected 1 or more" in lines(capsys)
    assert not film.exists()


@pytest.mark.refuses
def test_speech_that_is_no_sound_leaves_no_film(trained_run, tmp_path, capsys):
    speech = tmp_path / "speech.wav"
    speech.write_text("not a sound")
    assert run("render", trained_run, speech, tmp_path / "film.mp4") == 1
    assert "speech.wav" in lines(capsys)[0]
    assert list(tmp_path.iterdir()) == [speech]


@pytest.mark.refuses
@pytest.mark.parametrize("content", [None, b"not a video", b""])
def test_prepare_refuses_what_is_no_video(content, tmp_path, capsys):
    video = tmp_path / "video.mp4"
    if content is not None:
        video.write_bytes(content)
    assert run("prepare", video, tmp_path / "clip") == 1
    assert "video.mp4" in lines(capsys)[0]
    assert not (tmp_path / "clip").exists()
    assert not list(tmp_path.glob(".clip*"))


def test_evaluate_prints_one_json_object(trained_run, capsys):
    capsys.readouterr()
    assert run("evaluate", trained_run, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert set(scores) >= {"psnr", "ssim", "psnr_mouth", "mean_iou", "frames"}
    assert scores["frames"] == 2


def test_info_names_the_backend(capsys):
    assert run("info") == 0
    assert "backend: " in capsys.readouterr().out


@pytest.mark.refuses
def test_evaluating_on_another_clip_is_refused(trained_run, tiny_clip, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_clip.path, other)
    manifest = json.loads((other / "clip.json").read_text()) | {"source": "someone else"}
    (other / "clip.json").write_text(json.dumps(manifest))
    assert run("evaluate", trained_run, "--clip", other) == 1
    assert "is not the clip of this run" in lines(capsys)[0]


@pytest.mark.refuses
def test_a_clip_of_another_schema_version_is_refused(tiny_clip, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_clip.path, other)
    manifest = json.loads((other / "clip.json").read_text()) | {"schema_version": 99}
    (other / "clip.json").write_text(json.dumps(manifest))
    assert run("train", other, tmp_path / "run") == 1
    assert "has clip schema version 99; this sspnerf reads 2" in lines(capsys)[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.refuses
@pytest.mark.parametrize("verb", ["synth", "prepare"])
def test_an_existing_clip_is_kept(verb, tmp_path, capsys):
    clip = tmp_path / "clip"
    clip.mkdir()
    (clip / "mine.txt").write_text("dear to me")
    source = [write_gray_video(tmp_path / "video.mp4")] if verb == "prepare" else []
    assert run(verb, *source, clip) == 2
    assert "exists already" in lines(capsys)[-2]
    assert (clip / "mine.txt").read_text() == "dear to me"


@pytest.mark.refuses
def test_a_truncated_video_is_refused(tmp_path, capsys):
    video = write_gray_video(tmp_path / "video.mp4")
    video.write_bytes(video.read_bytes()[:-2000])
    assert run("prepare", video, tmp_path / "clip") == 1
    assert "video.mp4" in lines(capsys)[0]
    assert list(tmp_path.iterdir()) == [video]


@pytest.mark.refuses
def test_a_video_without_a_face_is_refused(models_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SSPNERF_MODELS", str(models_folder))
    video = write_gray_video(tmp_path / "video.mp4")
    assert run("prepare", video, tmp_path / "clip") == 1
    errors = [line for line in lines(capsys) if line.startswith("error: ")]
    assert len(errors) == 1
    assert "face" in errors[0]
    assert list(tmp_path.iterdir()) == [video]


@pytest.mark.refuses
def test_a_missing_model_file_names_file_address_and_variable(tmp_path, capsys, monkeypatch):
    def no_network(model):
        raise OSError("no network")

    monkeypatch.setenv("SSPNERF_MODELS", str(tmp_path))
    monkeypatch.setattr("sspnerf.perception.models._fetch_to_cache", no_network)
    video = write_gray_video(tmp_path / "video.mp4")
    assert run("prepare", video, tmp_path / "clip") == 1
    (line,) = [line for line in lines(capsys) if line.startswith("error: ")]
    assert "face_landmarker.task" in line
    assert "https://storage.googleapis.com/mediapipe-models/" in line
    assert "SSPNERF_MODELS" in line
    assert list(tmp_path.iterdir()) == [video]


@pytest.mark.refuses
def test_what_the_system_refuses_is_one_line(tiny_clip, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("train", tiny_clip.path, tmp_path / "file" / "run", "--steps", "1") == 1
    assert lines(capsys)[0].startswith("error: cannot read or write")


def test_ctrl_c_says_how_to_go_on(tiny_clip, tmp_path, capsys, monkeypatch):
    def interrupted(learner, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr("sspnerf.train.learner.PortraitLearner.step", interrupted)
    assert run("train", tiny_clip.path, tmp_path / "run") == 130
    assert f"sspnerf train {tiny_clip.path} {tmp_path / 'run'} --resume" in lines(capsys)[0]


def poses_of(run):
    """The head poses of the clip that a run was trained on."""
    return np.load(Path(json.loads((run / "source.json").read_text())["clip"]) / "poses.npy")


def write_gray_video(path):
    """A second of gray, where nobody is."""
    with FilmWriter(path, width=64, height=64, frame_rate_hz=25.0) as writer:
        for _ in range(25):
            writer.write(np.full((64, 64, 3), 128, np.uint8))
    return path
