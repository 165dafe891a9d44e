"""Corrections of frames that were never trained on: found where there is a rule, else none."""

import pytest
import torch

from sspnerf.train.pose_bias import predict_corrections

FRAMES, TRAINING, INPUTS = 440, 400, 5


def situations(generator):
    """Slow walks, as poses and faces are."""
    steps = torch.randn(FRAMES, INPUTS, generator=generator)
    return steps.cumsum(dim=0) * 0.1


def test_a_rule_is_found_and_holds_for_other_frames(generator):
    situation = situations(generator)
    rule = torch.randn(INPUTS, 6, generator=generator) * 0.01
    truth = situation @ rule
    noise = 0.002 * torch.randn(TRAINING, 6, generator=generator)
    found = predict_corrections(truth[:TRAINING] + noise + 0.5, situation)
    expected = truth - truth[:TRAINING].mean(dim=0)
    left = (found - expected)[TRAINING:].square().mean()
    assert left < 0.1 * expected[TRAINING:].square().mean()


def test_noise_is_no_rule(generator):
    noise = 0.01 * torch.randn(TRAINING, 6, generator=generator)
    assert not predict_corrections(noise, situations(generator)).any()


def test_each_number_counts_for_itself(generator):
    situation = situations(generator)
    corrections = 0.01 * torch.randn(TRAINING, 6, generator=generator)
    corrections[:, 2] = 0.03 * situation[:TRAINING, 1]
    found = predict_corrections(corrections, situation)
    assert found[:, 2].abs().max() > 0.01
    assert not found[:, [0, 1, 3, 4, 5]].any()


def test_nothing_is_averaged_across_a_cut(generator):
    """A rule that jumps at the cut still jumps after smoothing."""
    situation = torch.zeros(FRAMES, 1)
    situation[::2] = 0.01
    situation[200:] += 1.0
    corrections = torch.zeros(TRAINING, 6)
    corrections[200:, 0] = 0.1
    jump = predict_corrections(corrections, situation, cuts=(200,))[:, 0].diff()
    assert jump[199] > 0.05
    assert jump[198].abs() < 1e-2 * jump[199]


@pytest.mark.parametrize("training", [1, 7])
def test_few_frames_teach_nothing_wrong(generator, training):
    found = predict_corrections(torch.zeros(training, 6), torch.zeros(20, 3))
    assert found.shape == (20, 6)
    assert not found.any()
