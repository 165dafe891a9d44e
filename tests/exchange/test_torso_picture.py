"""Neck and torso alone."""

import numpy as np

from sspnerf.exchange.parts import Part
from sspnerf.exchange.torso_picture import torso_picture


def standing():
    """Head over neck over torso, 100 x 100."""
    parts = np.zeros((100, 100), np.uint8)
    parts[10:60, 30:70] = Part.HEAD
    parts[60:75, 40:60] = Part.NECK
    parts[75:, 20:80] = Part.TORSO
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[parts == Part.NECK] = (200, 150, 100)
    picture[parts == Part.TORSO] = (10, 20, 200)
    return picture, parts


def test_the_body_is_opaque_as_it_is_and_the_rest_is_empty():
    picture, parts = standing()
    cut = torso_picture(picture, parts)
    body = np.isin(parts, (Part.NECK, Part.TORSO))
    np.testing.assert_array_equal(cut[body, :3], picture[body])
    assert (cut[body, 3] == 255).all()
    assert not cut[:45].any()
    assert not cut[parts == Part.BACKGROUND].any()


def test_the_neck_goes_on_under_the_chin():
    picture, parts = standing()
    cut = torso_picture(picture, parts)
    under = cut[50:60, 40:60]
    assert (under[..., 3] == 255).all()
    # Of the neck's color, darker further up.
    np.testing.assert_allclose(under[-1, :, :3], np.tile([196, 147, 98], (20, 1)), atol=1)
    assert (np.diff(under[:, 5, 0].astype(int)) >= 0).all()
    # Shoulders that end against the background do not.
    assert not cut[65:75, 20:40].any()


def test_a_head_without_a_body_gives_an_empty_picture():
    picture, parts = standing()
    parts[60:] = Part.BACKGROUND
    assert not torso_picture(picture, parts).any()
