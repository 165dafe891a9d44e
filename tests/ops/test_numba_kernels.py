"""Pixel kernels against brute force; the others are tested through the functions that call them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import oracles
from sspnerf.ops.numba_kernels import pixel_groups as kernels
from sspnerf.ops.numba_kernels import plane_grid

SIDES = st.integers(1, 9)


def dilated(masks, threshold, radius):
    frames, height, width = masks.shape
    flat = masks.reshape(frames, height * width)
    out = np.zeros_like(flat)
    kernels.dilate(flat, width, threshold, radius, np.zeros_like(flat), out)
    return out.reshape(masks.shape)


@given(
    st.tuples(st.integers(1, 3), SIDES, SIDES).flatmap(
        lambda shape: arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 12, 13, 255]))
    ),
    st.integers(0, 5),
)
def test_dilation_matches_brute_force(masks, radius):
    expected = [oracles.dilate_picture(mask.tolist(), 12, radius) for mask in masks]
    np.testing.assert_array_equal(dilated(masks, 12, radius), expected)


def test_one_pixel_becomes_a_square():
    mask = np.zeros((1, 7, 9), np.uint8)
    mask[0, 3, 4] = 200
    expected = np.zeros((7, 9), np.uint8)
    expected[1:6, 2:7] = 1
    np.testing.assert_array_equal(dilated(mask, 12, 2)[0], expected)


@given(arrays.arrays(np.uint8, st.integers(0, 60), elements=st.integers(0, 4)))
def test_grouping_lists_each_class_in_order(labels):
    order, starts = np.full(len(labels), -1, np.int32), np.full(6, -1, np.int64)
    kernels.group_pixels(labels, 5, order, starts)
    for k in range(5):
        np.testing.assert_array_equal(order[starts[k] : starts[k + 1]], np.nonzero(labels == k)[0])
    assert starts[0] == 0
    assert starts[5] == len(labels)


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
