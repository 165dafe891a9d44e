"""Previews cost no training time, and a slow one is not drawn again soon. Clocks are fake."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from small_learners import FAST
from sspnerf.evaluate.held_out import Measured
from sspnerf.render.portrait import RenderedFrame
from sspnerf.train import trainer
from sspnerf.train.checkpoints import load_checkpoint
from sspnerf.train.learner import PortraitLearner, StepReport

# One that takes less than a twentieth of this is drawn each time.
EVERY_S = 6.0
SETTINGS = replace(FAST, preview_minutes=EVERY_S / 60, checkpoint_minutes=1000.0)


@pytest.fixture
def watch(tiny_clip, tmp_path, monkeypatch):
    """Train with steps that take a second and learn nothing; return run and previews' steps."""

    def go(config, *, preview_s):
        now = SimpleNamespace(seconds=1000.0, steps=0)
        drawn = []

        def step(learner, progress):
            now.seconds += 1.0
            now.steps += 1
            return StepReport(0.1, 0.1, 0.1, 10.0)

        def render(portrait, clip, features, frames):
            now.seconds += preview_s
            drawn.append(now.steps)
            color, labels = np.array(clip.frames[0]), np.array(clip.labels[0])
            empty = np.zeros(labels.shape, np.float32)
            yield Measured(0, color, labels, RenderedFrame(color, labels, empty, empty))

        clock = SimpleNamespace(monotonic=lambda: now.seconds)
        monkeypatch.setattr(trainer, "time", clock)
        monkeypatch.setattr(trainer, "render_held_out", render)
        monkeypatch.setattr(PortraitLearner, "step", step)
        run = trainer.train(tiny_clip.path, tmp_path / "run", config)
        assert sorted(int(p.stem) for p in (run / "previews").iterdir()) == sorted(set(drawn))
        return run, drawn

    return go


def test_a_quick_preview_is_drawn_as_often_as_asked(watch):
    _, drawn = watch(replace(SETTINGS, steps=20), preview_s=0.125)
    assert drawn == [7, 14, 20]


def test_no_preview_is_drawn_twice_at_the_end(watch):
    _, drawn = watch(replace(SETTINGS, steps=21), preview_s=0.125)
    assert drawn == [7, 14, 21]


def test_between_slow_previews_lies_twenty_times_what_one_takes(watch):
    _, drawn = watch(replace(SETTINGS, steps=50), preview_s=1.0)
    assert drawn == [7, 28, 49, 50]


def test_a_very_slow_preview_does_not_make_the_next_step_draw_again(watch):
    _, drawn = watch(replace(SETTINGS, steps=50), preview_s=100.0)
    assert drawn == [7, 50]


@pytest.mark.parametrize("preview_s", [0.125, 100.0])
def test_seconds_of_training_are_those_of_its_steps(watch, preview_s):
    run, _ = watch(replace(SETTINGS, steps=50), preview_s=preview_s)
    assert load_checkpoint(run).seconds == 50.0


def test_the_clock_of_the_training_stands_still_during_a_preview(watch):
    endless = replace(SETTINGS, steps=10_000_000, minutes=0.5)
    run, drawn = watch(endless, preview_s=100.0)
    assert load_checkpoint(run).step == 30
    assert drawn == [7, 30]
