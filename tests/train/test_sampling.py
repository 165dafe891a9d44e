"""Rays of a step: the settings reach the sampler, and frames that show nobody are passed over."""

from dataclasses import replace

import numpy as np
import pytest

from oracles import dilate_picture
from small_learners import FAST, PAPER, learner_of, watched
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.errors import TrainingError
from tiny_speaker import with_changes

ONE_FRAME = replace(FAST, frames_per_step=1, rays_per_step=400, uniform_share=0.0)


def areas(clip, frame, *, near):
    """Pixels of each class, of the background all or those in the square of 4 px around a mask."""
    labels = np.array(clip.labels[frame])
    if near:
        person = dilate_picture(clip.mask[frame].tolist(), 12, 4)
        labels = labels[(labels != SemanticClass.BACKGROUND) | np.array(person, bool)]
    return np.bincount(labels.reshape(-1), minlength=SEMANTIC_CLASSES)


@pytest.mark.parametrize("background", ["near", "all"])
def test_as_chances_of_pixels_equal_losses_give_every_class_its_area(tiny_clip, background):
    config = replace(ONE_FRAME, sampling_unit="pixel", background_rays=background)
    learner = learner_of(tiny_clip, config)
    seen = watched(learner)
    learner.step(0.0)
    ((batch, _),) = seen
    area = areas(tiny_clip, batch.frame_index[0], near=background == "near")
    np.testing.assert_allclose(learner.sampler.last_rays, 400 * area / area.sum(), rtol=0, atol=1)


def test_as_shares_of_rays_equal_losses_give_every_class_the_same(tiny_clip):
    learner = learner_of(tiny_clip, replace(ONE_FRAME, rays_per_step=64))
    seen = watched(learner)
    learner.step(0.0)
    ((batch, _),) = seen
    shown = areas(tiny_clip, batch.frame_index[0], near=True) > 0
    expected = np.where(shown, 64 / shown.sum(), 0)
    np.testing.assert_allclose(learner.sampler.last_rays, expected, rtol=0, atol=1)


@pytest.mark.parametrize(("period", "expected"), [(1, 1), (3, 3), (0, 2)])
def test_losses_are_averaged_over_the_period_of_the_settings(tiny_clip, period, expected):
    # One pass over ten frames, four at a time, is two steps.
    learner = learner_of(tiny_clip, replace(FAST, sampling_period=period, rays_per_step=64))
    steps = 0
    while (learner.sampler.losses == 1.0).all():
        learner.step(0.0)
        steps += 1
    assert steps == expected


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_uniform_share_of_the_settings_is_drawn_uniformly(tiny_clip, share):
    config = replace(ONE_FRAME, sampling_unit="pixel", uniform_share=share)
    learner = learner_of(tiny_clip, config)
    learner.sampler.losses[:] = 0.0
    learner.sampler.losses[SemanticClass.TORSO] = 1.0
    seen = watched(learner)
    learner.step(0.0)
    ((batch, _),) = seen
    area = areas(tiny_clip, batch.frame_index[0], near=True)
    uniform, chance = 400 * share, area[SemanticClass.TORSO] / area.sum()
    expected = 400 - uniform + uniform * chance
    deviation = (uniform * chance * (1 - chance)) ** 0.5
    found = learner.sampler.last_rays[SemanticClass.TORSO]
    assert found == pytest.approx(expected, abs=4 * deviation)


def without_person(clip, path, frames):
    labels, mask = np.array(clip.labels), np.array(clip.mask)
    labels[frames], mask[frames] = SemanticClass.BACKGROUND, 0
    return with_changes(clip, path, labels=labels, mask=mask)


@pytest.mark.parametrize("lip_weight", [0.0, 0.02])
def test_a_frame_that_shows_nobody_is_passed_over(tiny_clip, tmp_path, lip_weight):
    clip = without_person(tiny_clip, tmp_path / "clip", slice(0, 9))
    loss = replace(ONE_FRAME.loss, lip_weight=lip_weight)
    learner = learner_of(clip, replace(ONE_FRAME, loss=loss, rays_per_step=32))
    seen = watched(learner)
    for _ in range(3):
        assert np.isfinite(learner.step(0.0).loss)
    assert [batch.frame_index.tolist() for batch, _ in seen] == [[9]] * 3


def test_among_several_frames_one_that_shows_nobody_gets_no_rays(tiny_clip, tmp_path):
    clip = without_person(tiny_clip, tmp_path / "clip", slice(0, 9))
    learner = learner_of(clip, replace(FAST, frames_per_step=10, rays_per_step=100))
    seen = watched(learner)
    assert np.isfinite(learner.step(0.0).loss)
    ((batch, _),) = seen
    assert batch.frame_index.tolist() == list(range(10))
    assert batch.slot.tolist() == [9] * 10


@pytest.mark.refuses
@pytest.mark.parametrize("config", [ONE_FRAME, FAST], ids=["one frame", "several"])
def test_a_clip_without_any_person_is_refused(tiny_clip, tmp_path, config):
    learner = learner_of(without_person(tiny_clip, tmp_path / "clip", slice(None)), config)
    with pytest.raises(TrainingError, match="no person in the masks of 100 draws") as caught:
        learner.step(0.0)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "clip") in str(caught.value)
    assert "preview.mp4" in caught.value.hint


def test_with_all_of_the_background_frames_that_show_nobody_are_learned_too(tiny_clip, tmp_path):
    learner = learner_of(without_person(tiny_clip, tmp_path / "clip", slice(None)), PAPER)
    assert np.isfinite(learner.step(0.0).loss)
    assert learner.sampler.last_rays[SemanticClass.BACKGROUND] == PAPER.rays_per_step
