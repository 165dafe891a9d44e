"""The square crop."""

import numpy as np
import pytest

from sspnerf.prepare.framing import choose_crop, crop_picture


def face(x, y, height):
    """Landmarks that span a face of a height, three quarters as wide, around a point."""
    found = np.tile(np.array([x, y, 0], np.float32), (478, 1))
    found[0, 1], found[1, 1] = y - height / 2, y + height / 2
    found[2, 0], found[3, 0] = x - 0.375 * height, x + 0.375 * height
    return found


def test_a_square_picture_is_taken_whole():
    assert choose_crop(512, 512, [face(100, 100, 50)]) == (0, 0, 512, 512)


def test_the_square_is_three_faces_high_and_centred_on_the_face():
    x0, y0, x1, y1 = choose_crop(1920, 1080, [face(900, 500, 200)])
    assert (x1 - x0, y1 - y0) == (600, 600)
    assert (x0 + x1) / 2 == 900
    assert (500 - y0) / 600 == pytest.approx(0.42, abs=0.002)


@pytest.mark.parametrize("where", [(10, 10), (1900, 1070), (960, 20)])
def test_the_square_stays_inside_the_picture(where):
    x0, y0, x1, y1 = choose_crop(1920, 1080, [face(*where, 250)])
    assert 0 <= x0 < x1 <= 1920
    assert 0 <= y0 < y1 <= 1080
    assert x1 - x0 == y1 - y0


def test_one_wrong_face_does_not_move_the_square():
    good = [face(900, 500, 200)] * 4
    assert choose_crop(1920, 1080, [*good, face(50, 50, 30)]) == choose_crop(1920, 1080, good)


def test_the_crop_shows_its_box():
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(crop_picture(picture, (2, 1, 5, 4)), picture[1:4, 2:5])
