"""An exponential that spreads over a vector: the library's goes number by number."""

from typing import no_type_check

import numpy as np
from numba import njit

LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Beyond these e^x is no normal float32 any more.
X_MIN, X_MAX = np.float32(-87.0), np.float32(88.0)
# Taylor's terms of e^r, |r| <= ln 2 / 2: the first left out is r^7 / 5040 < 2e-7.
C2, C3 = np.float32(1 / 2), np.float32(1 / 6)
C4, C5, C6 = np.float32(1 / 24), np.float32(1 / 120), np.float32(1 / 720)
ONE, HALF = np.float32(1), np.float32(0.5)


@njit(inline="always")
@no_type_check
def exponential(x: float) -> float:
    """Return e^x within 3e-7 of itself; x is held to [-87, 88]."""
    held = min(max(x, X_MIN), X_MAX)
    power = np.floor(held * LOG2_E + HALF)
    # ln 2 in two parts, so that the remainder keeps its digits.
    rest = (held - power * LN_2_HIGH) - power * LN_2_LOW
    series = ONE + rest * (ONE + rest * (C2 + rest * (C3 + rest * (C4 + rest * (C5 + rest * C6)))))
    scale = np.int32((np.int32(power) + np.int32(127)) << np.int32(23))
    return series * scale.view(np.float32)


@njit(inline="always")
@no_type_check
def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x)."""
    return ONE / (ONE + exponential(-x))
