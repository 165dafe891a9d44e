"""Corrections between knots: linear, apart across cuts, without a mean."""

import numpy as np
import pytest
import torch

from sspnerf.train.pose_correction import PoseCorrection


def set_knots(correction, values):
    with torch.no_grad():
        correction.knots[:, 0] = torch.tensor(values)
    return correction.of_all()[:, 0]


def test_at_first_nothing_is_corrected():
    assert not PoseCorrection(20, every=6).of_all().any()


def test_between_knots_it_is_linear():
    found = set_knots(PoseCorrection(7, every=3), [0.0, 3.0, 6.0, 0.0])
    expected = torch.tensor([0.0, 1, 2, 3, 4, 5, 6])
    torch.testing.assert_close(found, expected - expected.mean())


def test_nothing_is_shared_across_a_cut():
    """Frames 0 to 4 lie between the first three knots, 5 to 7 between the last two."""
    found = set_knots(PoseCorrection(8, every=3, cuts=(5, 30)), [0.0, 0.0, 0.0, 9.0, 9.0])
    expected = torch.tensor([0.0] * 5 + [9.0] * 3)
    torch.testing.assert_close(found, expected - expected.mean())


def test_frames_are_those_of_all():
    correction = PoseCorrection(10, every=4)
    with torch.no_grad():
        correction.knots.copy_(torch.arange(correction.knots.numel()).view_as(correction.knots))
    chosen = np.array([7, 0, 3])
    assert torch.equal(correction(chosen), correction.of_all()[[7, 0, 3]])


@pytest.mark.parametrize("frames", [1, 5, 6, 7])
def test_every_frame_lies_between_two_knots(frames):
    correction = PoseCorrection(frames, every=6)
    assert len(correction.before) == frames
    assert int(correction.before.max()) + 1 < len(correction.knots)
    assert (correction.share < 1).all()
