"""The deformation network is told when in the clip each frame is, in training and rendering."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_learners import FAST, NETWORK, PAPER, awaken, learner_of, watched

LAST = 11
LAST_OF_TRAINING = 9
CONFIGS = pytest.mark.parametrize(
    "config", [replace(FAST, deformation=NETWORK), PAPER], ids=["fast", "paper"]
)


@pytest.fixture
def still(tiny_clip):
    """Learners whose head never moves; nothing but the time tells frames apart."""

    def build(config):
        learner = learner_of(tiny_clip, replace(config, frames_per_step=10))
        awaken(learner)
        tracked = learner.tracked
        learner.tracked = tracked._replace(
            poses=tracked.poses[:1].expand_as(tracked.poses),
            torso_poses=tracked.poses[:1].expand_as(tracked.poses),
            blendshapes=torch.zeros_like(tracked.blendshapes),
        )
        learner.snapshots.tracked = learner.tracked
        return learner

    return build


def told_times(learner):
    """Remember the times that the deformation network is told from now on."""
    times = []
    network = learner.driven.torso_deformation.network
    network.register_forward_pre_hook(lambda _, arguments: times.append(arguments[1].clone()))
    return times


@CONFIGS
def test_training_tells_each_ray_the_time_of_its_frame(still, config):
    learner = still(config)
    seen, times = watched(learner), told_times(learner)
    learner.step(0.0)
    ((batch, _),) = seen
    expected = torch.from_numpy(batch.frame_index)[batch.slot].float() / LAST
    # Coarse and fine samples, or those of the band.
    assert len(times) == (2 if config.architecture == "perceptron" else 1)
    for told in times:
        of_rays = told.view(len(expected), -1).float()
        torch.testing.assert_close(of_rays, expected[:, None].expand_as(of_rays))


@CONFIGS
def test_training_tells_the_time_in_the_number_type_of_rendering(still, config):
    learner = still(config)
    portrait, times = learner.portrait(1.0), told_times(learner)
    portrait.render_frame(portrait.hear(learner.speech.features, np.array([4]))[0], clip_frame=4)
    rendered = {told.dtype for told in times}
    times.clear()
    learner.step(0.0)
    assert {told.dtype for told in times} == rendered


@CONFIGS
def test_in_training_a_head_in_one_pose_is_deformed_by_the_time(still, config):
    learner = still(config)
    seen = watched(learner)
    learner.step(0.0)
    ((batch, rendered),) = seen
    moved = rendered.offset.detach().abs().amax(dim=(1, 2)) > 0
    # Frame 0 is the reference frame: in its pose and at its time nothing moves.
    assert torch.equal(moved, torch.from_numpy(batch.frame_index)[batch.slot] > 0)
    assert batch.frame_index.tolist() == list(range(10))


@CONFIGS
@pytest.mark.parametrize(("frame", "expected"), [(4, 4), (9, 9), (10, 9)])
def test_rendering_tells_the_time_but_none_that_was_not_learned(still, config, frame, expected):
    learner = still(config)
    portrait, times = learner.portrait(1.0), told_times(learner)
    assert portrait.time(frame) == pytest.approx(expected / LAST)
    portrait.render_frame(
        portrait.hear(learner.speech.features, np.array([4]))[0], clip_frame=frame
    )
    assert times
    for told in times:
        torch.testing.assert_close(told, torch.full_like(told, expected / LAST))


@CONFIGS
def test_a_picture_changes_with_the_time_until_the_last_that_was_learned(still, config):
    learner = still(config)
    portrait = learner.portrait(1.0)
    (speech,) = portrait.hear(learner.speech.features, np.array([4]))
    first, middle, learned, beyond = (
        portrait.render_frame(speech, clip_frame=frame).distance
        for frame in (0, 5, LAST_OF_TRAINING, LAST)
    )
    assert (first != middle).any()
    assert (middle != learned).any()
    np.testing.assert_array_equal(learned, beyond)
