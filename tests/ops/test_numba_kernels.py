"""What only compiled kernels promise; their values are tested through what calls them."""

import numpy as np
import pytest

from sspnerf.ops.numba_kernels import plane_grid


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_do_not_depend_on_the_number_of_threads(threads):
    import numba

    random = np.random.default_rng(3)
    positions = random.uniform(-1, 1, (500, 3)).astype(np.float32)
    grad = random.normal(size=(500, 6)).astype(np.float32)
    layout = np.array([2, 9]), np.array([0, 12]), 1
    table = np.zeros(3 * (4 + 81), np.float32)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        plane_grid.plane_grid_table_backward(positions, grad, *layout, table)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        again = np.zeros_like(table)
        plane_grid.plane_grid_table_backward(positions, grad, *layout, again)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(again, table)
