"""The background plate of a scene whose background is known."""

import cv2
import numpy as np
import pytest

from sspnerf.prepare.background import (
    Plate,
    background_plate,
    complete_silhouette,
    fill_smoothly,
    spread_evenly,
)

SIDE = 64


@pytest.fixture
def texture():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def disc_take(texture, centers):
    """A bright disc with a soft rim in front of the texture."""
    y, x = np.mgrid[:SIDE, :SIDE]
    frames, masks = [], []
    for cx, cy in centers:
        soft = np.clip(13 - np.hypot(x - cx, y - cy), 0, 1)
        frames.append((texture * (1 - soft[..., None]) + 255 * soft[..., None]).astype(np.uint8))
        masks.append((soft * 255).astype(np.uint8))
    return np.stack(frames), np.stack(masks)


def test_a_moving_person_leaves_no_trace(texture):
    frames, masks = disc_take(texture, [(16 + 32 * i / 19, 32) for i in range(20)])
    plate = background_plate(frames, masks).picture
    assert np.abs(plate.astype(int) - texture).max() <= 1


def test_noise_averages_out(texture):
    random = np.random.default_rng(1)
    frames = np.stack([texture] * 60) + random.normal(0, 5, (60, SIDE, SIDE, 3))
    nobody = np.zeros((60, SIDE, SIDE), np.uint8)
    plate = background_plate(np.clip(frames, 0, 255).astype(np.uint8), nobody).picture
    assert np.abs(plate.astype(int) - texture).mean() < 1.2


def test_what_is_never_seen_is_filled_without_the_person(texture):
    flat = np.full_like(texture, (90, 120, 150))
    frames, masks = disc_take(flat, [(32, 32)] * 5)
    plate = background_plate(frames, masks).picture
    assert np.abs(plate.astype(int) - (90, 120, 150)).max() <= 1


def test_filling_keeps_what_is_known_and_stays_between_its_values():
    picture = np.zeros((33, 47, 3), np.float32)
    picture[:, 30:] = 100
    known = np.ones((33, 47), bool)
    known[5:30, 10:40] = False
    picture[~known] = 1e6
    filled = fill_smoothly(picture, known)
    np.testing.assert_array_equal(filled[known], picture[known])
    assert filled.min() >= -1e-3
    assert filled.max() <= 100.001


def test_filling_nothing_from_nothing_is_black():
    filled = fill_smoothly(np.full((8, 8, 3), 7, np.float32), np.zeros((8, 8), bool))
    np.testing.assert_array_equal(filled, np.zeros((8, 8, 3)))


@pytest.mark.parametrize("frames", [1, 2, 119, 120, 121, 5000])
def test_sampled_frames_are_spread_over_the_clip(frames):
    chosen = spread_evenly(frames, 120)
    assert len(chosen) == min(frames, 120)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < frames


def test_a_mask_that_is_cut_too_small_is_completed_and_never_cut():
    everywhere = np.ones((SIDE, SIDE), bool)
    plate = Plate(np.full((SIDE, SIDE, 3), 100, np.uint8), everywhere)
    picture = plate.picture.copy()
    picture[:, :32] = 180
    picture[10:20, :20] = 100  # a patch of the person in the background's color
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, :31] = 255
    found = complete_silhouette(picture, mask, plate)
    assert (found[:, :31] == 255).all()
    assert found[:, 31].min() > 127
    assert found[:, 34:].max() == 0


def test_a_change_far_from_the_person_is_not_the_person():
    plate = Plate(np.full((SIDE, SIDE, 3), 100, np.uint8), np.ones((SIDE, SIDE), bool))
    picture = plate.picture.copy()
    picture[40:50, 40:50] = 200
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:20, :20] = 255
    np.testing.assert_array_equal(complete_silhouette(picture, mask, plate), mask)
