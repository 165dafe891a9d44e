"""What a sample absorbs and what passes it, against the library's exponentials in float64."""

import numpy as np
import pytest
from numba import njit

from sspnerf.ops.numba_kernels.decay import decay
from sspnerf.ops.numba_kernels.types import MATH


@njit(fastmath=MATH)
def all_decays(depth, passes, absorbed):
    for i in range(len(depth)):
        passes[i], absorbed[i] = decay(depth[i])


def decays(depth):
    depth = np.asarray(depth, dtype=np.float32)
    passes, absorbed = np.empty_like(depth), np.empty_like(depth)
    all_decays(depth, passes, absorbed)
    return passes, absorbed


def test_both_parts_keep_their_digits():
    depth = np.concatenate((np.logspace(-30, 1.9, 20_000), np.linspace(0, 80, 20_000))).astype("f4")
    passes, absorbed = decays(depth)
    np.testing.assert_allclose(passes, np.exp(-depth.astype("f8")), rtol=3e-7)
    np.testing.assert_allclose(absorbed, -np.expm1(-depth.astype("f8")), rtol=3e-7)


def test_walls_absorb_everything():
    passes, absorbed = decays([89.0, 1e8, np.inf])
    assert (passes == 0).all()
    assert (absorbed == 1).all()


def test_no_number_stays_no_number():
    assert np.isnan(decays([np.nan])).all()


@pytest.mark.parametrize("depth", [-1.0, -5.0])
def test_a_negative_depth_is_not_refused(depth):
    np.testing.assert_allclose(decays([depth])[0], np.exp(-depth), rtol=1e-3)
