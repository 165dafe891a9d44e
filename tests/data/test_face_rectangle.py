"""The rectangle around a face: by hand, at the picture's rim, and without a face."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sspnerf.data.face_rectangle import face_rectangle


def around(*points, width=200, height=100):
    return face_rectangle(np.array(points, np.float32), width=width, height=height)


def test_it_reaches_half_as_far_again_to_the_sides_and_by_the_chin_up_and_down():
    # Across: 100 +- 1.5 * 20. Down: the eyes are at 30 + 0.35 * 40 = 44, 1.15 * 26 = 29.9 px away.
    assert around((80, 50, 7), (120, 30, -9), (90, 70, 0)) == (70, 14, 130, 74)


def test_parts_of_pixels_are_inside():
    assert around((10.5, 20, 0), (12.5, 40, 0)) == (10, 12, 13, 42)


def test_it_ends_where_the_picture_ends():
    assert around((-30, -20, 0), (230, 130, 0)) == (0, 0, 200, 100)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((-50, -50, 0), (0, 0, 1, 1)),
        ((500, 500, 0), (199, 99, 200, 100)),
        ((7.5, 3.5, 0), (7, 3, 8, 4)),
        ((7, 3, 0), (7, 3, 8, 4)),
    ],
)
def test_at_least_one_pixel_is_left(point, expected):
    assert around(point) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_without_a_tracked_face_it_is_the_whole_picture(value):
    assert around((80, 50, 0), (120, value, 0)) == (0, 0, 200, 100)
    assert face_rectangle(np.empty((0, 3), np.float32), width=5, height=6) == (0, 0, 5, 6)


@given(
    arrays.arrays(np.float32, (3, 3), elements=st.floats(width=32)),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_it_is_always_in_the_picture(landmarks, width, height):
    x0, y0, x1, y1 = face_rectangle(landmarks, width=width, height=height)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
