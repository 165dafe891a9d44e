"""Groups of pixels on every backend: by hand, against brute force, and backend against backend."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import oracles
from sspnerf.ops.pixel_groups import dilate, group_pixels, reference_group_pixels

SHAPES = [(0, 5), (4, 0), (1, 1), (1, 17), (17, 1), (13, 31), (8, 64), (9, 65), (40, 200)]
SIDES = st.tuples(st.integers(1, 9), st.integers(1, 40))
MASKS = st.sampled_from([0, 12, 13, 255])


def pictures(shape, values):
    return arrays.arrays(np.uint8, shape, elements=values)


def some_labels(shape, *, patches=True):
    """Labels in patches, as of a person, or a mix of all."""
    random = np.random.default_rng(5)
    if not patches:
        return random.integers(0, 9, shape, dtype=np.uint8)
    small = random.integers(0, 9, (shape[0] // 4 + 1, shape[1] // 12 + 1), dtype=np.uint8)
    return np.repeat(np.repeat(small, 4, axis=0), 12, axis=1)[: shape[0], : shape[1]]


def some_mask(shape):
    values = np.array([0] * 200 + [12] * 20 + [13, 255], np.uint8)
    return np.random.default_rng(6).choice(values, shape)


def listed(pixels):
    """Return the pixels of each group."""
    return [pixels.at(np.arange(*ends)).tolist() for ends in np.stack(
        (pixels.starts[:-1], pixels.starts[1:]), axis=1
    )]  # fmt: skip


def expected_groups(groups, labels, mask, count, threshold, radius):
    """Go through all pixels, one by one."""
    near = oracles.dilate_picture(mask.tolist(), threshold, radius)
    found = [[] for _ in range(count)]
    height, width = groups.shape
    for row in range(height):
        for column in range(width):
            if labels[row, column] != 0 or near[row][column]:
                found[groups[row, column]].append(row * width + column)
    return found


def test_pixels_are_listed_by_group_and_as_they_lie(backend):
    pixels = group_pixels(np.array([[3, 0, 3], [3, 1, 1]], np.uint8), count=5)
    assert listed(pixels) == [[1], [4, 5], [], [0, 2, 3], []]
    assert pixels.starts.tolist() == [0, 1, 3, 3, 6, 6]
    # A run ends with its row: 0; 1; 2; 3; 4 to 5.
    assert pixels.first.tolist() == [1, 4, 0, 2, 3]
    assert pixels.rank.tolist() == [0, 1, 3, 4, 5]


def test_background_is_left_out_where_no_mask_is_near(backend):
    labels, mask = np.zeros((5, 12), np.uint8), np.zeros((5, 12), np.uint8)
    mask[2, 5], mask[0, 11] = 13, 12
    labels[4, 0] = 2
    pixels = group_pixels(labels, count=3, mask=mask, threshold=12, radius=2)
    square = [row * 12 + column for row in range(5) for column in range(3, 8)]
    assert listed(pixels) == [square, [], [48]]


@pytest.mark.parametrize("place", [(0, 0), (0, 39), (29, 0), (29, 39)])
def test_a_square_ends_at_the_pictures_rim(place, backend):
    labels, mask = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    mask[place] = 255
    found = group_pixels(labels, count=1, mask=mask, threshold=12, radius=4)
    rows = range(5) if place[0] == 0 else range(25, 30)
    columns = range(5) if place[1] == 0 else range(35, 40)
    assert listed(found) == [[row * 40 + column for row in rows for column in columns]]


def test_without_anybody_nothing_is_near(backend):
    nobody = np.zeros((6, 7), np.uint8)
    pixels = group_pixels(nobody, count=11, mask=nobody, threshold=12, radius=4)
    assert pixels.starts.tolist() == [0] * 12
    assert len(pixels.first) == 0


@given(
    SIDES.flatmap(lambda shape: st.tuples(
        pictures(shape, st.integers(0, 3)), pictures(shape, st.integers(0, 2)),
        pictures(shape, MASKS),
    )),
    st.integers(0, 5),
)  # fmt: skip
def test_groups_match_brute_force(given, radius):
    groups, labels, mask = given
    around = {"threshold": 12, "radius": radius}
    expected = expected_groups(groups, labels, mask, 4, 12, radius)
    for function in (group_pixels, reference_group_pixels):
        found = function(groups, count=4, labels=labels, mask=mask, **around)
        assert listed(found) == expected


@pytest.mark.parametrize("radius", [0, 1, 4, 20])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patches", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_every_backend_groups_as_the_reference_does(shape, radius, patches, masked, backend):
    labels, mask = some_labels(shape, patches=patches), some_mask(shape) if masked else None
    around = {"mask": mask, "threshold": 12, "radius": radius}
    found = group_pixels(labels, count=9, **around)
    expected = reference_group_pixels(labels, count=9, labels=labels, **around)
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, wanted)
        assert ours.dtype == wanted.dtype


def test_pictures_are_read_as_they_lie(backend):
    labels, mask = some_labels((30, 60)), some_mask((30, 60))
    around = {"threshold": 12, "radius": 3}
    straight = group_pixels(labels.copy(), count=9, mask=mask, **around)
    turned = group_pixels(labels.T.copy().T, count=9, mask=mask.T.copy().T, **around)
    read_only = labels.copy()
    read_only.flags.writeable = False
    locked = group_pixels(read_only, count=9, mask=mask, **around)
    for other in (turned, locked):
        for ours, theirs in zip(straight, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@given(
    SIDES.flatmap(lambda shape: pictures(shape, MASKS)),
    st.integers(0, 12),
)
def test_dilation_matches_brute_force(mask, radius):
    expected = oracles.dilate_picture(mask.tolist(), 12, radius)
    np.testing.assert_array_equal(dilate(mask, threshold=12, radius=radius), expected)


@pytest.mark.refuses
def test_a_label_that_is_no_group_is_refused(backend):
    with pytest.raises(ValueError, match="labels hold the value 5; expected 0 to 4"):
        group_pixels(np.array([[0, 5]], np.uint8), count=5)


@pytest.mark.refuses
def test_a_negative_radius_is_refused(backend):
    with pytest.raises(ValueError, match="radius is -1; expected at least 0"):
        group_pixels(np.zeros((2, 2), np.uint8), count=1, radius=-1)


@pytest.mark.refuses
@pytest.mark.parametrize("name", ["labels", "mask"])
def test_pictures_of_different_sizes_are_refused(name, backend):
    pictures = {name: np.zeros((2, 3), np.uint8)}
    with pytest.raises(ValueError, match=r"a picture has shape \(2, 3\); expected \(2, 2\)"):
        group_pixels(np.zeros((2, 2), np.uint8), count=1, **pictures)
