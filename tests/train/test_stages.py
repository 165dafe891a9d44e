"""Architecture head-and-torso: what begins anew with the torso's stage, and what rests in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_learners import ADNERF, learner_of

HEAD_STAGE, TORSO_STAGE = 0.1, 0.7
# A tenth of the rates is left after two steps.
FAST_DECAY = replace(ADNERF, optimiser=replace(ADNERF.optimiser, decay_steps=2))


def shares(learner):
    """Say what is left of each first rate."""
    return [group["lr"] / group["first_rate"] for group in learner.optimiser.param_groups]


def with_speech(**speech):
    return replace(ADNERF, speech=replace(ADNERF.speech, **speech))


def test_rates_fall_anew_in_the_torsos_stage(tiny_clip):
    learner = learner_of(tiny_clip, FAST_DECAY)
    found = []
    for progress in (HEAD_STAGE, HEAD_STAGE, HEAD_STAGE, TORSO_STAGE, TORSO_STAGE):
        learner.step(progress)
        found.append(shares(learner)[0])
        assert shares(learner) == pytest.approx([found[-1]] * 4)
    assert found == pytest.approx([1.0, 0.1**0.5, 0.1, 1.0, 0.1**0.5])


def picture_of_the_head(learner):
    """Render the head alone, as it is now."""
    stage = learner.driven.learns_torso
    was = stage.clone()
    stage.fill_(False)
    portrait = learner.portrait(1.0)
    frame = portrait.render_frame(
        portrait.hear(learner.speech.features, np.array([5]))[0], clip_frame=5
    )
    stage.copy_(was)
    return frame


@pytest.mark.parametrize("upper_face_dim", [0, 8])
def test_only_the_torso_learns_in_its_stage(tiny_clip, upper_face_dim):
    field = replace(ADNERF.field, upper_face_dim=upper_face_dim)
    learner = learner_of(tiny_clip, replace(ADNERF, field=field))
    learner.step(HEAD_STAGE)
    before = {name: p.clone() for name, p in learner.driven.named_parameters()}
    for _ in range(2):
        learner.step(TORSO_STAGE)
    changed = {n for n, p in learner.driven.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {name for name in before if name.startswith("torso_")}


def test_the_head_looks_the_same_after_the_torsos_stage(tiny_clip):
    field = replace(ADNERF.field, upper_face_dim=8)
    learner = learner_of(tiny_clip, replace(ADNERF, field=field))
    learner.step(HEAD_STAGE)
    before = picture_of_the_head(learner)
    # So late in its stage the head's attention would be switched on.
    for _ in range(2):
        learner.step(0.99)
    after = picture_of_the_head(learner)
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("attention_from", "last"), [(1.0, 1.0), (0.5, 0.99)])
def test_the_torsos_stage_does_not_switch_the_attention_on(tiny_clip, attention_from, last):
    learner = learner_of(tiny_clip, with_speech(attention_from=attention_from))
    for progress in (HEAD_STAGE, TORSO_STAGE, last):
        learner.step(progress)
    assert not learner.driven.speech_encoder.weighs_neighbours


def test_attention_that_was_switched_on_stays_on(tiny_clip):
    learner = learner_of(tiny_clip, with_speech(attention_from=0.5))
    for progress in (0.3, TORSO_STAGE):
        learner.step(progress)
    assert learner.driven.speech_encoder.weighs_neighbours
