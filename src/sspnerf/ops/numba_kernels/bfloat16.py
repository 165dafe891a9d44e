"""Numbers that kernels read and write as they come: float32, or bfloat16 as the bits of an int16.

NumPy knows no bfloat16. Its 16 bits are the upper half of a float32's.
"""

from typing import Any, no_type_check

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from sspnerf.ops.numba_kernels.types import Floats

Numbers = Floats | NDArray[np.int16]


@no_type_check
def widen(number: Any) -> float:  # noqa: ANN401 - float32, or int16 that stands for bfloat16
    """Return a number as float32."""
    raise NotImplementedError


@no_type_check
def store(value: float, out: Numbers, ray: int, sample: int, channel: int) -> None:
    """Write a float32 to out[ray, sample, channel], rounded to the nearest, ties to even."""
    raise NotImplementedError


@overload(widen)
@no_type_check
def _widen(number):  # noqa: ANN001, ANN202 - Numba's types
    if number == types.int16:
        return lambda number: np.int32(np.int32(number) << 16).view(np.float32)
    return lambda number: number


@overload(store)
@no_type_check
def _store(value, out, ray, sample, channel):  # noqa: ANN001, ANN202 - Numba's types
    if out.dtype != types.int16:

        def store_float32(value, out, ray, sample, channel):  # noqa: ANN001, ANN202
            out[ray, sample, channel] = value

        return store_float32

    def store_bfloat16(value, out, ray, sample, channel):  # noqa: ANN001, ANN202
        bits = np.int64(np.float32(value).view(np.int32))
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        # Rounding would carry a "not a number" into the sign.
        out[ray, sample, channel] = np.int16(rounded) if value == value else np.int16(0x7FC0)

    return store_bfloat16


@no_type_check
def round_to(value: float, like: Numbers) -> Any:  # noqa: ANN401 - float32, or bfloat16's bits
    """Return a float32 as the numbers of an array, rounded to the nearest, ties to even."""
    raise NotImplementedError


@overload(round_to)
@no_type_check
def _round_to(value, like):  # noqa: ANN001, ANN202 - Numba's types
    if like.dtype != types.int16:
        return lambda value, like: value

    def to_bfloat16(value, like):  # noqa: ANN001, ANN202
        bits = np.float32(value).view(np.int32)
        return np.int16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)

    return to_bfloat16
