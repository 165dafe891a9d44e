"""Compositing of logits: the background is the last sample, softmax comes after the sum."""

import math

import pytest
import torch

from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.ops.compositing import composite
from sspnerf.render.rendered import BACKGROUND_LOGIT, certain_background, over_background


def oracle(densities, lengths, samples, behind):
    """Sum of T (1 - exp(-density length)) value, then what is left of T times what is behind."""
    seen, passed = [0.0] * len(behind), 1.0
    for density, length, values in zip(densities, lengths, samples, strict=True):
        absorbed = 1 - math.exp(-density * length)
        seen = [s + passed * absorbed * v for s, v in zip(seen, values, strict=True)]
        passed *= 1 - absorbed
    return [s + passed * b for s, b in zip(seen, behind, strict=True)]


def test_logits_are_summed_like_colors_with_a_certain_background_behind(backend, generator):
    densities, edges = [0.3, 0.0, 1.2], [1.0, 1.5, 2.5, 2.8]
    samples = torch.randn(3, SEMANTIC_CLASSES, generator=generator)
    seen = composite(torch.tensor([densities]), torch.tensor([edges]), samples[None])
    logits = over_background(seen, certain_background(torch.device("cpu")))
    behind = [0.0] * SEMANTIC_CLASSES
    behind[SemanticClass.BACKGROUND] = BACKGROUND_LOGIT
    expected = oracle(densities, [0.5, 1.0, 0.3], samples.tolist(), behind)
    torch.testing.assert_close(logits, torch.tensor([expected]))


def test_softmax_comes_after_compositing(backend):
    """Half lip, half teeth by weight, but the lip is surer of itself: by hand."""
    density = torch.tensor([[math.log(2.0), 1e9]])
    samples = torch.zeros(1, 2, SEMANTIC_CLASSES)
    samples[0, 0, SemanticClass.LIP] = 4.0
    samples[0, 1, SemanticClass.MOUTH_INTERIOR] = 2.0
    seen = composite(density, torch.tensor([[0.0, 1.0, 2.0]]), samples)
    chance = over_background(seen, certain_background(torch.device("cpu"))).softmax(-1)[0]
    total = math.exp(2) + math.exp(1) + SEMANTIC_CLASSES - 2
    assert chance[SemanticClass.LIP].item() == pytest.approx(math.exp(2) / total, rel=1e-5)
    # The mean of each sample's own softmax would say 0.42.
    mixed = 0.5 * math.exp(4) / (math.exp(4) + 10) + 0.5 / (math.exp(2) + 10)
    assert chance[SemanticClass.LIP].item() != pytest.approx(mixed, abs=0.01)
