"""The loop: what a run holds, stopping and going on, and that nothing is lost."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sspnerf.config import PRESETS, FieldConfig, read_settings
from sspnerf.errors import ClipError, PortraitError, TrainingError, UsageError
from sspnerf.media.audio import write_waveform
from sspnerf.render.portrait import load_portrait
from sspnerf.train import trainer
from sspnerf.train.checkpoints import CHECKPOINT, load_checkpoint
from sspnerf.train.learner import PortraitLearner

SMALL = replace(
    PRESETS["fast"],
    steps=100,
    rays_per_step=128,
    frames_per_step=4,
    field=FieldConfig(resolutions=(8, 16), features=2, hidden=16),
)


def test_a_run_holds_what_its_page_says(tiny_clip, tmp_path):
    seen = []
    run = trainer.train(tiny_clip.path, tmp_path / "run", SMALL, progress=seen.append)
    assert [p.step for p in seen] == [50, 100]
    assert [p.share for p in seen] == [0.5, 1.0]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in metrics] == [50, 100]
    assert read_settings(run / "config.toml", PRESETS["fast"]) == trainer.fit_to_clip(
        SMALL, tiny_clip
    )
    assert load_checkpoint(run).step == 100
    assert load_portrait(run).frames == tiny_clip.manifest.frames
    with Image.open(run / "previews" / "0000100.png") as preview:
        assert preview.size == (3 * tiny_clip.manifest.width, tiny_clip.manifest.height)


def test_an_interrupted_run_is_saved_and_goes_on(tiny_clip, tmp_path):
    def interrupt(now):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trainer.train(tiny_clip.path, run, SMALL, progress=interrupt)
    assert load_checkpoint(run).step == 50
    assert load_portrait(run).frames == tiny_clip.manifest.frames
    seen = []
    trainer.resume(tiny_clip.path, run, progress=seen.append)
    assert [p.step for p in seen] == [100]
    assert load_checkpoint(run).step == 100


def test_the_clock_ends_training(tiny_clip, tmp_path):
    endless = replace(SMALL, steps=10_000_000, minutes=0.01)
    checkpoint = load_checkpoint(trainer.train(tiny_clip.path, tmp_path / "run", endless))
    assert checkpoint.seconds >= 0.6
    assert checkpoint.step < endless.steps


@pytest.mark.refuses
def test_a_clip_without_sound_needs_a_speech_file(tiny_clip, tmp_path):
    silent = tmp_path / "silent"
    shutil.copytree(tiny_clip.path, silent)
    manifest = json.loads((silent / "clip.json").read_text())
    manifest |= {"has_speech": False, "features": {}}
    (silent / "clip.json").write_text(json.dumps(manifest))
    with pytest.raises(ClipError, match="has no sound") as refusal:
        trainer.train(silent, tmp_path / "run", SMALL)
    assert "--speech FILE" in refusal.value.hint
    assert not (tmp_path / "run").exists()
    speech = tiny_clip.path / "speech.wav"
    run = trainer.train(silent, tmp_path / "run", replace(SMALL, steps=2), speech=speech)
    assert load_portrait(run).info.feature_dim == 80


@pytest.mark.refuses
def test_a_checkpoint_of_other_networks_is_refused(tiny_clip, tmp_path):
    run = trainer.train(tiny_clip.path, tmp_path / "run", replace(SMALL, steps=2))
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("hidden = 16", "hidden = 24"))
    with pytest.raises(PortraitError, match="the checkpoint does not fit"):
        trainer.resume(tiny_clip.path, run)


def test_the_grids_cover_what_the_camera_sees(tiny_clip):
    camera = tiny_clip.manifest.intrinsics
    distance = float(np.median(np.linalg.norm(tiny_clip.poses[:, :3, 3], axis=1)))
    extent = trainer.fit_to_clip(PRESETS["fast"], tiny_clip).field.extent
    assert extent > distance * camera.width / (2 * camera.fx)


@pytest.mark.refuses
@pytest.mark.parametrize("what", ["file", "films"])
def test_only_a_run_is_overwritten(tiny_clip, tmp_path, what):
    place = tmp_path / "place"
    if what == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "holiday.mp4").write_text("mine")
    with pytest.raises(UsageError, match="is no run; it is not overwritten"):
        trainer.train(tiny_clip.path, place, SMALL, overwrite=True)
    kept = place if what == "file" else place / "holiday.mp4"
    assert kept.read_text() == "mine"


@pytest.mark.refuses
def test_the_clip_itself_is_not_overwritten(tiny_clip):
    with pytest.raises(UsageError, match="is no run"):
        trainer.train(tiny_clip.path, tiny_clip.path, SMALL, overwrite=True)
    assert (tiny_clip.path / "clip.json").is_file()


def test_a_run_is_overwritten_when_told(tiny_clip, tmp_path):
    few = replace(SMALL, steps=2)
    run = trainer.train(tiny_clip.path, tmp_path / "run", few)
    (run / "old.txt").write_text("from before")
    trainer.train(tiny_clip.path, run, few, overwrite=True)
    assert not (run / "old.txt").exists()


@pytest.mark.refuses
def test_what_is_refused_leaves_the_run_before_it(tiny_clip, tmp_path):
    run = trainer.train(tiny_clip.path, tmp_path / "run", replace(SMALL, steps=2))
    before = (run / CHECKPOINT).read_bytes()
    with pytest.raises(ClipError, match="no speech features named whisper"):
        trainer.train(tiny_clip.path, run, replace(SMALL, speech_feature="whisper"), overwrite=True)
    assert (run / CHECKPOINT).read_bytes() == before


@pytest.mark.refuses
def test_another_clip_is_refused_when_resuming(tiny_clip, tmp_path):
    run = trainer.train(tiny_clip.path, tmp_path / "run", replace(SMALL, steps=2))
    other = tmp_path / "other"
    shutil.copytree(tiny_clip.path, other)
    manifest = json.loads((other / "clip.json").read_text()) | {"source": "someone else"}
    (other / "clip.json").write_text(json.dumps(manifest))
    with pytest.raises(ClipError, match="is not the clip of this run: video is someone else"):
        trainer.resume(other, run)


@pytest.mark.refuses
def test_a_finished_run_says_so(tiny_clip, tmp_path):
    run = trainer.train(tiny_clip.path, tmp_path / "run", replace(SMALL, steps=2))
    with pytest.raises(UsageError, match="is finished: 2 steps"):
        trainer.resume(tiny_clip.path, run)


def test_reports_after_the_checkpoint_are_forgotten(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps({"step": step}) + "\n" for step in (50, 100, 150)))
    trainer._forget_after(metrics, 100)
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [50, 100]


def test_a_loss_that_is_no_number_ends_training_and_keeps_the_checkpoint(
    tiny_clip, tmp_path, monkeypatch
):
    honest = PortraitLearner.step

    def poisoned(learner, progress):
        report = honest(learner, progress)
        return report._replace(loss=math.nan) if progress > 0.5 else report

    monkeypatch.setattr(PortraitLearner, "step", poisoned)
    with pytest.raises(TrainingError, match="the loss is nan at step 52"):
        trainer.train(tiny_clip.path, tmp_path / "run", SMALL)
    assert load_checkpoint(tmp_path / "run").step == 0


@pytest.mark.refuses
def test_speech_of_another_length_is_refused(tiny_clip, tmp_path):
    write_waveform(tmp_path / "long.wav", np.zeros(16000 * 9, np.float32))
    with pytest.raises(UsageError, match=r"lasts 9\.0 s and the clip 0\.5 s"):
        trainer.train(tiny_clip.path, tmp_path / "run", SMALL, speech=tmp_path / "long.wav")
    assert not (tmp_path / "run").exists()
