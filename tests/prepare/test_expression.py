"""Blendshapes without noise: what rests gets steady, what moves keeps its depth and its time."""

import numpy as np
import pytest

from sspnerf.prepare.expression import expression_noise, smooth_expression

NOISE = 0.02


def blinks(frames, rate, *, length_s, at):
    """Eyes that close for `length_s` (half depth), fast down and slower up."""
    time = np.arange(frames) / rate
    curve = np.full(frames, 0.1)
    for start in at:
        since = (time - start) / length_s
        closing = np.where(since < 0, np.exp(-((since / 0.4) ** 2)), np.exp(-((since / 0.7) ** 2)))
        curve += 0.7 * closing
    return curve


def noisy(curve, seed):
    return curve + np.random.default_rng(seed).normal(0, NOISE, curve.shape)


@pytest.mark.parametrize("rate", [23.976, 30.0, 60.0])
@pytest.mark.parametrize("length_s", [0.1, 0.2, 0.3])
def test_a_blink_keeps_its_depth_and_its_time(rate, length_s):
    frames = round(12 * rate)
    at = np.arange(1, 11) * rate // 1 / rate
    truth = blinks(frames, rate, length_s=length_s, at=at)
    seen = noisy(truth[:, None], 0)
    found = smooth_expression(seen, rate)[:, 0]
    for start in at:
        frame = round(start * rate)
        around = slice(frame - 4, frame + 5)
        depth = found[around].max() - 0.1
        assert depth > 0.9 * (truth[around].max() - 0.1)
        # Its centre of gravity stays to a third of a frame.
        middle = [
            (np.arange(9) * (curve[around] - 0.1)).sum() / (curve[around] - 0.1).sum()
            for curve in (found, truth)
        ]
        assert abs(middle[0] - middle[1]) < 0.33


def test_noise_at_rest_is_halved_at_least():
    truth = blinks(500, 25.0, length_s=0.15, at=(4.0, 9.0, 14.0))
    found = smooth_expression(noisy(truth[:, None], 1), 25.0)[:, 0]
    rest = truth < 0.11
    assert (found - truth)[rest].std() < NOISE / 2


def test_syllables_are_not_dulled():
    """A mouth that opens five times a second, as in fast speech, with rests in between."""
    time = np.arange(750) / 25
    speaks = (time % 4) < 2.5
    truth = np.where(speaks, 0.3 * np.sin(np.pi * 5 * time) ** 2, 0.0)
    found = smooth_expression(noisy(truth[:, None], 2), 25.0)[:, 0]
    loud = np.polyfit(truth[speaks], found[speaks], 1)[0]
    assert loud > 0.95


def test_a_step_stays_where_it_is():
    truth = np.where(np.arange(100) < 50, 0.1, 0.8)
    found = smooth_expression(noisy(truth[:, None], 3), 25.0)[:, 0]
    np.testing.assert_allclose(found, truth, atol=4 * NOISE)
    assert found[49] < 0.2
    assert found[50] > 0.7


def test_nothing_leaks_across_a_cut():
    values = noisy(np.full((60, 3), 0.5), 4)
    other = values.copy()
    other[30:] += 0.02
    first = smooth_expression(values, 25.0, cuts=(30,))
    second = smooth_expression(other, 25.0, cuts=(30,))
    np.testing.assert_allclose(first[:30], second[:30], atol=1e-4)
    np.testing.assert_allclose(first[30:] + 0.02, second[30:], atol=1e-4)
    assert abs(smooth_expression(other, 25.0)[29] - second[29]).max() > 1e-3


def test_the_noise_is_read_off_what_rests():
    truth = blinks(2000, 25.0, length_s=0.15, at=np.arange(2, 78, 2.0))
    assert expression_noise(noisy(truth[:, None], 6), 25.0)[0] == pytest.approx(NOISE, rel=0.25)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_and_constant_curves_come_back(frames):
    values = np.full((frames, 52), 0.25, np.float32)
    np.testing.assert_array_equal(smooth_expression(values, 25.0), values)
