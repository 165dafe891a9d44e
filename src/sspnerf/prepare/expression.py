"""Blendshapes without their noise: steady where the face rests, untouched where it moves.

A bilateral filter in time: a value is averaged with values near it in time *and* in size. It looks
as far ahead as back, so nothing lags; a blink or a syllable differs from its neighbours by many
times the noise, so it is not averaged with them and keeps its depth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from sspnerf.prepare.poses import pieces_between

# Values this far away in time still count, s (standard deviation); what is 3 times as far does not.
NEAR_S = 0.1
# Values that differ by so many times the noise still count (standard deviation).
NEAR_NOISE = 2.0
# The noise is read off the quietest moments: of all stretches of this length, s, this share is at
# rest. Of pure noise, so many shares are quieter than QUIET_BIAS times its standard deviation.
QUIET_S = 0.5
QUIET_SHARE = 0.1
QUIET_BIAS = 0.72
LEAST_NOISE = 1e-6


def smooth_expression(
    weights: NDArray[np.floating], frame_rate_hz: float, *, cuts: tuple[int, ...] = ()
) -> NDArray[np.float32]:
    """Take the noise out of blendshape weights, or of anything else that rests and moves.

    Args:
        weights: Every frame filled in. Shape (frames, shapes).
        frame_rate_hz: How fast frames follow each other.
        cuts: First frames after a cut: nothing is averaged across them.

    Returns:
        Inside the range of the values around. Shape (frames, shapes).
    """
    values = np.asarray(weights, np.float32)
    pieces = pieces_between(cuts, len(values))
    reach = np.maximum(NEAR_NOISE * expression_noise(values, frame_rate_hz, cuts=cuts), LEAST_NOISE)
    return np.concatenate([_bilateral(values[piece], reach, frame_rate_hz) for piece in pieces])


def expression_noise(
    weights: NDArray[np.floating], frame_rate_hz: float, *, cuts: tuple[int, ...] = ()
) -> NDArray[np.float32]:
    """Tell how much weights shake where they rest.

    Args:
        weights: Shape (frames, shapes).
        frame_rate_hz: How fast frames follow each other.
        cuts: First frames after a cut.

    Returns:
        Standard deviations; 0 if no three frames follow each other. Shape (shapes,).
    """
    length = max(3, round(QUIET_S * frame_rate_hz))
    power = [
        uniform_filter1d(np.diff(weights[piece], 2, axis=0) ** 2, length, axis=0, mode="nearest")
        for piece in pieces_between(cuts, len(weights))
        if piece.stop - piece.start > 2
    ]
    if not power:
        return np.zeros(weights.shape[1], np.float32)
    quiet = np.quantile(np.concatenate(power), QUIET_SHARE, axis=0)
    # The second difference of white noise has 6 times its variance.
    return np.asarray(np.sqrt(np.maximum(quiet, 0) / 6) / QUIET_BIAS, np.float32)


def _bilateral(
    values: NDArray[np.float32], reach: NDArray[np.floating], frame_rate_hz: float
) -> NDArray[np.float32]:
    spread = NEAR_S * frame_rate_hz
    total, weight = values.astype(np.float64), np.ones(values.shape)
    for shift in range(1, min(round(3 * spread), len(values) - 1) + 1):
        near = np.exp(-0.5 * ((values[shift:] - values[:-shift]) / reach) ** 2)
        near *= np.exp(-0.5 * (shift / spread) ** 2)
        total[:-shift] += near * values[shift:]
        total[shift:] += near * values[:-shift]
        weight[:-shift] += near
        weight[shift:] += near
    return np.asarray(total / weight, np.float32)
