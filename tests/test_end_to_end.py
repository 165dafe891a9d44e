"""The product works, from a synthetic or a real video to a film; and the portrait listens."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sspnerf
from sspnerf.cli import main
from sspnerf.config import PRESETS, FieldConfig, SynthConfig
from sspnerf.data.clip import open_clip
from sspnerf.data.dataset import ClipDataset
from sspnerf.data.semantics import MOUTH_CLASSES
from sspnerf.errors import UsageError
from sspnerf.media.audio import read_waveform
from sspnerf.media.video import probe_video, read_frames
from sspnerf.synth.writer import write_synthetic_clip
from sspnerf.train.learner import PortraitLearner
from sspnerf.train.snapshot import Speech
from sspnerf.train.trainer import fit_to_clip


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 0


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    """Eight seconds of the synthetic speaker at 64 px."""
    path = tmp_path_factory.mktemp("speaker") / "clip"
    return write_synthetic_clip(path, SynthConfig(size=64, seconds=8.0, seed=3))


@pytest.mark.slow
def test_from_the_command_line_to_a_film(tmp_path, capsys):
    run("synth", tmp_path / "clip", "--size", "48", "--seconds", "2")
    run("train", tmp_path / "clip", tmp_path / "run", "--steps", "60", "--rays-per-step", "512")
    run("evaluate", tmp_path / "run", "--json")
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scores["psnr"] > 15
    assert (tmp_path / "run" / "evaluation" / "sheet.png").is_file()
    speech = tmp_path / "clip" / "speech.wav"
    run("render", tmp_path / "run", speech, tmp_path / "film.mp4")
    info = probe_video(tmp_path / "film.mp4")
    seconds = len(read_waveform(speech)) / 16000
    frames = [frame for _, frame in read_frames(tmp_path / "film.mp4")]
    assert info.has_sound
    assert len(frames) == round(seconds * info.frame_rate_hz)
    assert np.std(np.stack(frames).astype(float), axis=0).max() > 5


@pytest.mark.slow
def test_the_portrait_listens(speaker):
    """With the speech of other moments, lips and mouth are rendered worse on held-out frames."""
    config = replace(
        PRESETS["fast"],
        steps=700,
        rays_per_step=1024,
        uniform_share=0.0,
        field=FieldConfig(resolutions=(16, 32, 64, 128), hidden=32),
    )
    features = np.array(speaker.feature("logmel"))
    learner = PortraitLearner(
        fit_to_clip(config, speaker), ClipDataset(speaker), Speech(features, 100.0, -20.0)
    )
    for step in range(config.steps):
        learner.step(step / config.steps)
    portrait, random = learner.portrait(1.0), np.random.default_rng(0)
    heard, misheard = [], []
    for frame in learner.dataset.held_out:
        heard.append(mouth_error(portrait, speaker, features, (frame, frame)))
        for other in random.integers(0, speaker.manifest.frames, 3):
            misheard.append(mouth_error(portrait, speaker, features, (frame, other)))
    # Measured over two speakers and two seeds of the training: 1.11 to 1.53.
    assert np.mean(misheard) > 1.05 * np.mean(heard)


def mouth_error(portrait, clip, features, frames):
    """Mean squared error of lips and mouth in the shown frame, driven by the heard frame."""
    shown, heard = frames
    (speech,) = portrait.hear(features, np.array([heard]))
    picture = portrait.render_frame(speech, clip_frame=int(shown)).color
    mouth = np.isin(clip.labels[shown], MOUTH_CLASSES)
    return np.square(picture.astype(float) - clip.frames[shown])[mouth].mean()


@pytest.mark.refuses
def test_a_waveform_of_integers_is_refused(trained_run):
    with pytest.raises(UsageError, match="the waveform is int16; expected floats"):
        sspnerf.speak(sspnerf.load_portrait(trained_run), np.zeros(16000, np.int16))


def test_speaking_in_python(trained_run):
    portrait = sspnerf.load_portrait(trained_run)
    waveform = np.zeros(16000, np.float32)
    film = sspnerf.speak(portrait, waveform)
    first = next(iter(film))
    assert len(film) == round(portrait.info.frame_rate_hz)
    assert first.shape == (portrait.info.height, portrait.info.width, 3)
    assert first.dtype == np.uint8
    assert first.std() > 0


@pytest.mark.slow
def test_the_examples_run(trained_run, tiny_clip, tmp_path):
    film, sheet = tmp_path / "film.mp4", tmp_path / "sheet.png"
    told = example("speak.py", trained_run, tiny_clip.path / "speech.wav", film)
    assert "frames/s" in told
    example("contact_sheet.py", film, sheet, "3")
    with Image.open(sheet) as picture:
        assert picture.size == (3 * tiny_clip.manifest.width, tiny_clip.manifest.height)


def example(name, *arguments):
    program = Path(__file__).parents[1] / "examples" / name
    done = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_real_video_becomes_a_portrait(clips_folder: Path, models_folder: Path, tmp_path):
    video = clips_folder / "en_8s.mp4"
    run("prepare", video, tmp_path / "clip", "--size", "64")
    clip = open_clip(tmp_path / "clip")
    assert clip.manifest.frames == 200
    run("train", tmp_path / "clip", tmp_path / "run", "--steps", "40", "--rays-per-step", "512")
    run("evaluate", tmp_path / "run", "--every", "6")
    scores = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert scores["frames"] == 4
    assert scores["psnr"] > 12
