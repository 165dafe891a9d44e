"""What a step is asked to make small, summed by hand from what was rendered."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_learners import ADNERF, FAST, NETWORK, PAPER, awaken, learner_of, watched
from sspnerf.config import LossConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass

WEIGHTS = ("mask_weight", "deformation_weight", "still_weight", "pose_weight")
NO_PENALTY = LossConfig(**dict.fromkeys((*WEIGHTS, "semantic_weight", "lip_weight"), 0.0))
# Hair may lie on the shoulders, neck and torso move apart from the head.
MOVE_WITH_THE_HEAD = ("SKIN", "BROW", "EYE", "EAR", "NOSE", "MOUTH_INTERIOR", "LIP")


def step_with(clip, config):
    """Learn one step; return its report, batch, rendering and the corrections' knots before it."""
    learner = learner_of(clip, config)
    if learner.driven.torso_deformation is not None:
        awaken(learner)
    with torch.no_grad():
        for correction in learner.corrections.values():
            correction.knots.normal_(std=0.05, generator=torch.Generator().manual_seed(2))
    knots = [c.knots.detach().clone().numpy() for c in learner.corrections.values()]
    seen = watched(learner)
    report = learner.step(0.0)
    ((batch, rendered),) = seen
    return learner, report, batch, rendered, knots


def by_hand(weight, batch, rendered, knots):
    if weight == "mask_weight":
        difference = rendered.accumulation.detach() - batch.mask
        return sum(float(d) ** 2 for d in difference) / len(difference)
    if weight == "deformation_weight":
        return float(np.mean(rendered.residual.detach().numpy() ** 2))
    if weight == "pose_weight":
        return float(sum(np.mean(bone**2) for bone in knots))
    still = {SemanticClass[name] for name in MOVE_WITH_THE_HEAD}
    moved = [
        np.mean([offset @ offset for offset in ray.numpy()]) if int(label) in still else 0.0
        for ray, label in zip(rendered.offset.detach(), batch.labels, strict=True)
    ]
    return float(np.mean(moved))


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_penalty_counts_by_its_weight(tiny_clip, weight):
    config = replace(FAST, loss=replace(NO_PENALTY, **{weight: 100.0}))
    if weight == "still_weight":
        # The bones do not reach up to the hair, the paper's network does.
        config = replace(config, deformation=NETWORK)
    _, report, *seen = step_with(tiny_clip, config)
    expected = 100 * by_hand(weight, *seen)
    # Enough that nothing else can be taken for it.
    assert expected > 0.1 * report.photometric
    assert report.loss == pytest.approx(report.photometric + expected, rel=1e-4)


def test_without_weights_only_the_pictures_count(tiny_clip):
    _, report, *_ = step_with(tiny_clip, replace(FAST, loss=NO_PENALTY))
    assert report.loss == pytest.approx(report.photometric, rel=1e-6)


def test_while_the_head_learns_its_mask_and_picture_are_the_heads(tiny_clip):
    config = replace(ADNERF, loss=replace(NO_PENALTY, mask_weight=3.0), rays_per_step=500)
    _, report, batch, rendered, _ = step_with(tiny_clip, config)
    body = (batch.labels == SemanticClass.TORSO).numpy()
    assert body.any()
    head = ~body & (batch.labels != SemanticClass.BACKGROUND).numpy()
    truth = np.where(head[:, None], batch.color, batch.background)
    mask = np.where(head, batch.mask, 0)
    photometric = sum(
        np.mean((color.detach().numpy() - truth) ** 2)
        for color in (rendered.color, rendered.coarse.color)
    )
    penalty = 3 * np.mean((rendered.accumulation.detach().numpy() - mask) ** 2)
    assert report.loss == pytest.approx(photometric + penalty, rel=1e-4)


def class_means(batch, rendered, *, semantic_weight):
    """Mean loss of each class over its rays, all fields together; NaN where there is none."""
    fields = [rendered, rendered.coarse] if rendered.coarse is not None else [rendered]
    rows = np.arange(len(batch.labels))
    per_ray = np.zeros(len(rows))
    for field in fields:
        color, logits = (part.detach().double().numpy() for part in (field.color, field.logits))
        per_ray += np.mean((color - batch.color.numpy()) ** 2, axis=1)
        surprise = np.log(np.exp(logits).sum(axis=1)) - logits[rows, batch.labels.numpy()]
        per_ray += semantic_weight * surprise
    of_class = [per_ray[batch.labels.numpy() == k] for k in range(SEMANTIC_CLASSES)]
    return np.array([part.mean() if len(part) else np.nan for part in of_class])


@pytest.mark.parametrize("config", [FAST, PAPER], ids=["fast", "paper"])
@pytest.mark.parametrize("parsing", [True, False])
def test_classes_are_sampled_by_their_losses_of_all_fields(tiny_clip, config, parsing):
    loss = replace(NO_PENALTY, semantic_weight=0.5)
    config = replace(config, sampling_period=1, parsing=parsing, loss=loss)
    learner, _, batch, rendered, _ = step_with(tiny_clip, config)
    expected = class_means(batch, rendered, semantic_weight=0.5 * parsing)
    seen = ~np.isnan(expected)
    assert seen.sum() == SEMANTIC_CLASSES - 3
    np.testing.assert_allclose(learner.sampler.losses[seen], expected[seen], rtol=1e-4)
