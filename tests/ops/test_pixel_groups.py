"""Groups of pixels and dilation on every backend: by hand, and reference against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import oracles
from sspnerf.ops.pixel_groups import (
    dilate,
    group_pixels,
    reference_dilate,
    reference_group_pixels,
)

SIDES = st.integers(1, 9)


def some_labels(pixels):
    return np.random.default_rng(5).integers(0, 7, pixels, dtype=np.uint8)


def some_masks(shape):
    return np.random.default_rng(6).choice(np.array([0, 0, 0, 0, 12, 13, 255], np.uint8), shape)


def test_pixels_are_listed_by_group(backend):
    order, starts = group_pixels(np.array([3, 0, 3, 1], np.uint8), groups=5)
    assert order.tolist() == [1, 3, 0, 2]
    assert starts.tolist() == [0, 1, 2, 2, 4, 4]


@pytest.mark.parametrize("pixels", [0, 1, 2, 63, 64, 1001])
def test_every_backend_groups_as_the_reference_does(pixels, backend):
    labels = some_labels(pixels)
    grouped, expected = (f(labels, groups=9) for f in (group_pixels, reference_group_pixels))
    for found, wanted in zip(grouped, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype


@given(arrays.arrays(np.uint8, st.integers(0, 60), elements=st.integers(0, 4)))
def test_the_reference_lists_each_group_in_order(labels):
    order, starts = reference_group_pixels(labels, groups=5)
    for k in range(5):
        expected = [i for i, label in enumerate(labels) if label == k]
        assert order[starts[k] : starts[k + 1]].tolist() == expected
    assert len(starts) == 6


def test_one_pixel_becomes_a_square(backend):
    mask = np.zeros((2, 7, 9), np.uint8)
    mask[1, 3, 4] = 200
    expected = np.zeros((2, 7, 9), bool)
    expected[1, 1:6, 2:7] = True
    np.testing.assert_array_equal(dilate(mask, threshold=12, radius=2), expected)


@pytest.mark.parametrize("radius", [0, 1, 4, 20])
@pytest.mark.parametrize(
    "shape", [(0, 5, 5), (1, 1, 1), (1, 1, 17), (2, 17, 1), (3, 13, 31), (1, 0, 4), (1, 4, 0)]
)
def test_every_backend_dilates_as_the_reference_does(shape, radius, backend):
    masks = some_masks(shape)
    found = dilate(masks, threshold=12, radius=radius)
    np.testing.assert_array_equal(found, reference_dilate(masks, threshold=12, radius=radius))
    assert found.dtype == np.bool_


def test_a_turned_picture_is_dilated_as_it_lies(backend):
    masks = some_masks((2, 11, 23))
    turned = dilate(masks.transpose(0, 2, 1), threshold=12, radius=3)
    np.testing.assert_array_equal(turned, dilate(masks, threshold=12, radius=3).transpose(0, 2, 1))


@given(
    st.tuples(st.integers(1, 3), SIDES, SIDES).flatmap(
        lambda shape: arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 12, 13, 255]))
    ),
    st.integers(0, 5),
)
def test_the_reference_matches_brute_force(masks, radius):
    expected = [oracles.dilate_picture(mask.tolist(), 12, radius) for mask in masks]
    found = reference_dilate(masks, threshold=12, radius=radius)
    np.testing.assert_array_equal(found, np.array(expected, bool))


@pytest.mark.refuses
def test_a_label_that_is_no_group_is_refused(backend):
    with pytest.raises(ValueError, match="labels hold the value 5; expected 0 to 4"):
        group_pixels(np.array([0, 5], np.uint8), groups=5)


@pytest.mark.refuses
def test_a_negative_radius_is_refused(backend):
    with pytest.raises(ValueError, match="radius is -1; expected at least 0"):
        dilate(np.zeros((1, 2, 2), np.uint8), threshold=12, radius=-1)
