"""Presets `paper` and `adnerf`: a few steps of each, at a size where a step takes little."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_learners import learner_of
from sspnerf.config import PRESETS, PerceptronConfig, TwoFieldConfig, VolumeConfig
from sspnerf.data.semantics import BODY_CLASSES, SEMANTIC_CLASSES, SemanticClass
from sspnerf.render.portrait import load_portrait

SMALL_PARTS = {
    "perceptron": PerceptronConfig(hidden=32, layers=4, mesh_features=4, mesh_nodes=10),
    "volume": VolumeConfig(coarse=12, fine=12),
    "rays_per_step": 128,
}
SMALL = {name: replace(PRESETS[name], **SMALL_PARTS) for name in ("paper", "adnerf")}
SMALL["adnerf"] = replace(SMALL["adnerf"], two_fields=TwoFieldConfig(torso_rays=64))


def moved(learner, progresses):
    """Train, and return the names of the parameters that ever had a gradient."""
    names = set()
    for progress in progresses:
        assert np.isfinite(learner.step(progress).loss)
        for name, parameter in learner.driven.named_parameters():
            if parameter.grad is not None and parameter.grad.abs().max() > 0:
                names.add(name)
    return names


@pytest.mark.parametrize("name", ["paper", "adnerf"])
def test_every_parameter_receives_a_gradient(tiny_clip, name):
    learner = learner_of(tiny_clip, SMALL[name])
    # AD-NeRF's attention is switched on in the second half of the head's stage.
    progresses = [0.0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9]
    expected = {name for name, _ in learner.driven.named_parameters()}
    assert moved(learner, progresses) == expected


def test_the_paper_learns(tiny_clip):
    # Ten times the paper's rate: it is meant for 400,000 steps.
    rates = replace(SMALL["paper"].optimiser, network_rate=6e-3)
    config = replace(SMALL["paper"], rays_per_step=512, frames_per_step=4, optimiser=rates)
    learner = learner_of(tiny_clip, config)
    reports = [learner.step(i / 100) for i in range(100)]
    first, last = reports[:10], reports[-10:]
    assert np.mean([r.photometric for r in last]) < 0.5 * np.mean([r.photometric for r in first])
    assert np.mean([r.semantic for r in last]) < 0.5 * np.mean([r.semantic for r in first])


def test_attention_is_switched_on_late(tiny_clip):
    learner = learner_of(tiny_clip, SMALL["paper"])
    learner.step(0.49)
    assert not learner.driven.speech_encoder.weighs_neighbours
    learner.step(0.5)
    assert learner.driven.speech_encoder.weighs_neighbours


def test_attention_learns_at_its_own_rate_and_rates_fall_to_a_tenth(tiny_clip):
    config = SMALL["paper"]
    config = replace(config, optimiser=replace(config.optimiser, decay_steps=2))
    learner = learner_of(tiny_clip, config)
    for _ in range(3):
        learner.step(0.9)
    rates = [group["lr"] for group in learner.optimiser.param_groups if group["params"]]
    # Networks, attention (five times as fast), pose correction; at the third step: 2 done.
    assert rates[:2] == pytest.approx([5e-5, 2.5e-4])


def test_the_head_is_learned_first_and_then_rests(tiny_clip):
    learner = learner_of(tiny_clip, SMALL["adnerf"])
    learner.step(0.2)
    before = {n: p.clone() for n, p in learner.driven.named_parameters()}
    learner.step(0.6)
    changed = {n.split("_")[0] for n, p in learner.driven.named_parameters()
               if not torch.equal(p, before[n])}  # fmt: skip
    assert changed == {"torso"}
    assert learner.sampler.kind == "uniform"
    assert learner.sampler.last_rays.sum() == 64


def test_the_head_learns_a_picture_without_neck_and_torso(tiny_clip):
    learner = learner_of(tiny_clip, SMALL["adnerf"])
    sampler = learner._build_sampler(learns_torso=True)
    frames = np.array([0, 1])
    batch = learner.dataset.draw(sampler, frames, rays=2000, generator=learner.random)
    seen = [learner._as_seen(batch, _moment(torso)) for torso in (False, True)]
    first, second = (part.color for part in seen)
    body = torch.isin(batch.labels, torch.tensor(BODY_CLASSES))
    assert body.any()
    assert torch.equal(first[body], batch.background[body])
    head = ~body & (batch.labels != SemanticClass.BACKGROUND)
    assert torch.equal(first[head], batch.color[head])
    assert torch.equal(second, batch.color)
    assert not seen[0].mask[body].any()
    assert torch.equal(seen[0].mask[head], batch.mask[head])
    assert torch.equal(seen[1].mask, batch.mask)


def _moment(learns_torso):
    from sspnerf.train.schedule import Moment

    return Moment(0.0, learns_torso)


@pytest.mark.parametrize("name", ["paper", "adnerf"])
@pytest.mark.parametrize("progress", [0.2, 0.7])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(tiny_clip, name, progress):
    straight = learner_of(tiny_clip, SMALL[name])
    for share in (0.1, progress):
        straight.step(share)
    tensors, plain = straight.state()
    restored = learner_of(tiny_clip, SMALL[name])
    restored.load_state({key: tensor.clone() for key, tensor in tensors.items()}, plain)
    for _ in range(2):
        assert restored.step(progress) == pytest.approx(straight.step(progress), rel=1e-3)


@pytest.mark.parametrize("name", ["paper", "adnerf"])
def test_a_saved_portrait_renders_what_was_learned(tiny_clip, tmp_path, name):
    learner = learner_of(tiny_clip, SMALL[name])
    for progress in (0.3, 0.8):
        learner.step(progress)
    portrait = learner.portrait(1.0)
    (speech,) = portrait.hear(learner.speech.features, np.array([3]))
    expected = portrait.render_frame(speech, clip_frame=3)
    portrait.save(tmp_path)
    found = load_portrait(tmp_path).render_frame(speech, clip_frame=3)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(np.unique(found.color)) > 20
    if name == "adnerf":
        assert not found.labels.any()


def test_the_torso_of_adnerf_is_seen_from_one_pose(tiny_clip):
    learner = learner_of(tiny_clip, SMALL["adnerf"])
    reference = torch.from_numpy(np.array(tiny_clip.poses[0]))
    assert torch.equal(learner.tracked.torso_poses, reference.expand(12, 4, 4))


def test_the_classes_get_equal_rays_in_the_papers_first_pass(tiny_clip):
    learner = learner_of(tiny_clip, replace(SMALL["paper"], rays_per_step=80))
    learner.step(0.0)
    shown = learner.sampler.last_rays
    # The tiny speaker has eight classes: no brows, ears or neck.
    assert (shown > 0).sum() == SEMANTIC_CLASSES - 3
    assert shown.sum() == 80
    assert learner.sampler.period == len(learner.dataset.usable)
