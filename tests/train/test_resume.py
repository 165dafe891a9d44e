"""Going on: rates where they were, and a run that a kill cannot leave half-finished."""

from dataclasses import replace

import numpy as np
import pytest

from small_learners import ADNERF, FAST, PAPER, learner_of
from sspnerf.errors import PortraitError
from sspnerf.render.portrait import Portrait, load_portrait
from sspnerf.train import trainer
from sspnerf.train.checkpoints import load_checkpoint


class KilledError(Exception):
    """Stands for a kill: nobody handles it."""


@pytest.mark.parametrize(
    ("config", "progresses"),
    [(FAST, (0.1, 0.2)), (PAPER, (0.1, 0.2)), (ADNERF, (0.1, 0.2)), (ADNERF, (0.1, 0.7, 0.8))],
    ids=["fast", "paper", "head", "torso"],
)
def test_rates_go_on_where_they_were(tiny_clip, config, progresses):
    config = replace(config, optimiser=replace(config.optimiser, decay_steps=2))
    straight = learner_of(tiny_clip, config)
    for progress in progresses:
        straight.step(progress)
    tensors, plain = straight.state()
    restored = learner_of(tiny_clip, config)
    restored.load_state({name: tensor.clone() for name, tensor in tensors.items()}, plain)
    restored.step(progresses[-1])
    # Two steps of the stage are done: a tenth is left.
    left = [group["lr"] / group["first_rate"] for group in restored.optimiser.param_groups]
    assert left == pytest.approx([0.1] * 4)


def killed_at(call, monkeypatch, *, owner, name):
    """Let a function fail when it is called for this time (the first is 1)."""
    honest, calls = getattr(owner, name), []

    def deadly(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise KilledError
        return honest(*arguments)

    monkeypatch.setattr(owner, name, deadly)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    # A checkpoint is written before the first step too.
    [(Portrait, "save", 1), (trainer, "save_checkpoint", 2)],
    ids=["portrait", "checkpoint"],
)
def test_a_run_that_is_killed_while_it_is_saved_can_be_resumed(
    tiny_clip, tmp_path, owner, name, call
):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        killed_at(call, patch, owner=owner, name=name)
        with pytest.raises(KilledError):
            trainer.train(tiny_clip.path, run, replace(FAST, steps=2))
    assert load_checkpoint(run).step == 0
    trainer.resume(tiny_clip.path, run)
    assert load_checkpoint(run).step == 2
    assert load_portrait(run).frames == tiny_clip.manifest.frames


def test_what_is_finished_has_a_portrait_that_fits_its_checkpoint(tiny_clip, tmp_path):
    run = trainer.train(tiny_clip.path, tmp_path / "run", replace(FAST, steps=2))
    learned, tensors = load_portrait(run).driven.state_dict(), load_checkpoint(run).tensors
    for name, tensor in learned.items():
        np.testing.assert_array_equal(tensor, tensors[f"driven.{name}"], err_msg=name)


@pytest.mark.refuses
def test_a_run_that_was_killed_before_its_first_checkpoint_says_so(tiny_clip, tmp_path):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        killed_at(1, patch, owner=trainer, name="save_checkpoint")
        with pytest.raises(KilledError):
            trainer.train(tiny_clip.path, run, replace(FAST, steps=2))
    with pytest.raises(PortraitError, match="no checkpoint to resume from"):
        trainer.resume(tiny_clip.path, run)
