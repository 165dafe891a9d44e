"""Measures of unsteadiness, on pictures whose motion and whose flicker are known."""

import cv2
import numpy as np
import pytest

from sspnerf.prepare.flicker import (
    CONTOUR_REACH,
    contour_offsets,
    label_flicker,
    mask_wobble,
    motion_between,
)

SIDE = 128


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(0).normal(0, 1, (2 * SIDE, 2 * SIDE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def shown_at(picture, shift):
    """A window into a picture, moved by a fraction of a pixel."""
    matrix = np.array([[1, 0, shift - SIDE / 2], [0, 1, -SIDE / 2]])
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def disc(radius, center=(SIDE / 2, SIDE / 2)):
    """A soft mask whose half-way contour is a circle (OpenCV's numbering)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    away = np.hypot(x - center[0], y - center[1])
    return np.clip((radius - away) / 4 + 0.5, 0, 1).astype(np.float32)


@pytest.mark.parametrize("grown", [-1.5, -0.25, 0.0, 0.4, 3.0])
def test_a_grown_disc_lies_that_far_outside(grown):
    offsets = contour_offsets(disc(30.2), disc(30.2 + grown))
    assert len(offsets) > 150
    np.testing.assert_allclose(offsets, grown, atol=0.05)


def test_a_shifted_disc_lies_out_in_front_and_in_behind():
    offsets = contour_offsets(disc(30), disc(30, (SIDE / 2 + 0.8, SIDE / 2)))
    assert offsets.max() == pytest.approx(0.8, abs=0.05)
    assert offsets.min() == pytest.approx(-0.8, abs=0.05)
    # The mean square of 0.8 cos over the angles, except that steps crowd near the axes.
    assert np.sqrt((offsets**2).mean()) == pytest.approx(0.8 / np.sqrt(2), abs=0.03)


def test_a_mask_that_is_not_there_is_as_far_as_can_be_told():
    assert (contour_offsets(disc(30), np.zeros((SIDE, SIDE), np.float32)) == CONTOUR_REACH).all()


def test_nothing_has_no_contour():
    assert contour_offsets(np.zeros((SIDE, SIDE), np.float32), disc(30)).shape == (0,)


def test_motion_is_found_and_believed(texture):
    motion = motion_between(shown_at(texture, 0), shown_at(texture, 1.7))
    inner = np.s_[20:-20, 20:-20]
    x = np.arange(SIDE)[None, 20:-20]
    np.testing.assert_allclose(motion.source[inner][..., 0], x + 0 * x.T - 1.7, atol=0.2)
    assert motion.believed[inner].mean() > 0.99


def test_another_picture_is_not_believed_to_have_moved(texture):
    other = 255 - shown_at(texture, 40)
    assert motion_between(shown_at(texture, 0), other).believed.mean() < 0.3


def moving_labels(texture, steps):
    frames = np.stack([shown_at(texture, 1.5 * step) for step in range(steps)])
    labels = np.stack(
        [(disc(35, (50 + 1.5 * step, 64)) > 0.5).astype(np.uint8) for step in range(steps)]
    )
    labels[:, 60:, :] *= 3
    return frames, labels


def test_what_moves_with_the_picture_does_not_flicker(texture):
    frames, labels = moving_labels(texture, 5)
    flicker = label_flicker(frames, labels)
    # Labels lie on whole pixels: moved by 1.5 px, edges wobble by half a pixel.
    assert flicker.changed < 0.03
    assert flicker.jumped < 1e-3
    assert flicker.judged > 0.95


def test_a_patch_that_blinks_is_counted_as_often_as_it_blinks(texture):
    frames = np.stack([shown_at(texture, 0)] * 4)
    labels = np.full((4, SIDE, SIDE), 9, np.uint8)
    labels[1, 40:60, 40:80] = 8
    flicker = label_flicker(frames, labels)
    # On and off: 2 of 3 pairs. Of the patch all but its rim of 1 px jumps: to 8 all of it, since no
    # 8 was there before; so does what returns to 9, but for the rim.
    area, inner = 20 * 40, 18 * 38
    assert flicker.changed == pytest.approx(2 * area / (3 * SIDE**2), rel=1e-6)
    assert flicker.jumped == pytest.approx((area + inner) / (3 * SIDE**2), rel=1e-6)
    assert flicker.judged == 1


def test_background_that_stays_is_not_in_the_share(texture):
    frames = np.stack([shown_at(texture, 0)] * 2)
    labels = np.zeros((2, SIDE, SIDE), np.uint8)
    labels[:, :10, :10] = 9
    labels[1, :10, :5] = 8
    assert label_flicker(frames, labels).changed == pytest.approx(0.5)


def test_nobody_does_not_flicker(texture):
    frames = np.stack([shown_at(texture, 0)] * 2)
    nobody = np.zeros((2, SIDE, SIDE), np.uint8)
    assert label_flicker(frames, nobody) == (0, 0, 0)
    assert mask_wobble(frames, nobody) == 0


def test_an_edge_that_breathes_wobbles_by_as_much(texture):
    frames = np.stack([shown_at(texture, 0)] * 5)
    masks = np.stack([disc(30 + 0.5 * (step % 2)) for step in range(5)])
    assert mask_wobble(frames, np.round(255 * masks).astype(np.uint8)) == pytest.approx(
        0.5, abs=0.05
    )


def test_an_edge_that_moves_with_the_picture_is_steady(texture):
    frames = np.stack([shown_at(texture, 1.3 * step) for step in range(4)])
    masks = np.stack([disc(30, (60 + 1.3 * step, 64)) for step in range(4)])
    assert mask_wobble(frames, np.round(255 * masks).astype(np.uint8)) < 0.12
