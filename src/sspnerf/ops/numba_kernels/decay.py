"""What a sample absorbs and what passes it; the compiler works it out for many samples at once."""

from typing import no_type_check

import numpy as np
from numba import njit

_LOG2_E = np.float32(1.4426950408889634)
# ln(2) in two parts: the first has so few digits that n times it is exact.
_LN_2, _LN_2_REST = np.float32(0.693359375), np.float32(-2.12194440e-4)
# e^-this is 0 in what follows; e^this is still a float32.
_DEEPEST = np.float32(88.02)
_HALF, _ONE = np.float32(0.5), np.float32(1)


# Sums stay in the order they are written in: in another one 1 - 2^n - 2^n (e^r - 1) is 1 - e^-depth
# as it looks, and thin haze is lost.
@njit(fastmath={"contract"})
@no_type_check
def decay(depth: float) -> tuple[float, float]:
    """Return e^-depth and 1 - e^-depth, both to their last digits.

    e^-depth = 2^n e^r with |r| <= ln(2) / 2 for depth >= 0, and Taylor's series of e^r - 1; what it
    leaves out is 2e-8 of the whole. No number gives no number.
    """
    depth = _DEEPEST if depth > _DEEPEST else depth
    depth = -_DEEPEST if depth < -_DEEPEST else depth
    n = np.int32(-depth * _LOG2_E - _HALF)
    r = (-depth - np.float32(n) * _LN_2) - np.float32(n) * _LN_2_REST
    series = _ONE + r * np.float32(1 / 7)
    series = _ONE + r * np.float32(1 / 6) * series
    series = _ONE + r * np.float32(1 / 5) * series
    series = _ONE + r * np.float32(1 / 4) * series
    series = _ONE + r * np.float32(1 / 3) * series
    beyond = r * (_ONE + r * _HALF * series)
    # The bits of the float32 2^n; those of n = -127 are those of 0.
    power = np.int32((n + np.int32(127)) << 23).view(np.float32)
    return power + power * beyond, (_ONE - power) - power * beyond
