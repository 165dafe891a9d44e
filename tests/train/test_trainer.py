"""The loop: what a run holds, stopping and going on, and that nothing is lost."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sspnerf.config import PRESETS, FieldConfig, read_settings
from sspnerf.errors import ClipError, PortraitError
from sspnerf.render.portrait import load_portrait
from sspnerf.train import trainer
from sspnerf.train.checkpoints import load_checkpoint

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
    trainer.resume(run, progress=seen.append)
    assert [p.step for p in seen] == [100]
    assert load_checkpoint(run).step == 100


def test_the_clock_ends_training(tiny_clip, tmp_path):
    run = trainer.train(tiny_clip.path, tmp_path / "run", replace(SMALL, minutes=0.01))
    assert 0.6 <= load_checkpoint(run).seconds < 5


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
    assert load_portrait(run).info.speech_dim == 80


@pytest.mark.refuses
def test_a_checkpoint_of_other_networks_is_refused(tiny_clip, tmp_path):
    run = trainer.train(tiny_clip.path, tmp_path / "run", replace(SMALL, steps=2))
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("hidden = 16", "hidden = 24"))
    with pytest.raises(PortraitError, match="the checkpoint does not fit"):
        trainer.resume(run)


def test_the_grids_cover_what_the_camera_sees(tiny_clip):
    camera = tiny_clip.manifest.intrinsics
    distance = float(np.median(np.linalg.norm(tiny_clip.poses[:, :3, 3], axis=1)))
    extent = trainer.fit_to_clip(PRESETS["fast"], tiny_clip).field.extent
    assert extent > distance * camera.width / (2 * camera.fx)
