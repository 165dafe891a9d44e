"""The background plate of a scene whose background is known."""

import cv2
import numpy as np
import pytest

from sspnerf.prepare.background import (
    Plate,
    background_plate,
    complete_silhouette,
    fill_smoothly,
    plate_mismatch,
    spread_evenly,
)
from sspnerf.prepare.flicker import contour_offsets

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


def test_a_mask_that_is_cut_too_small_is_completed_and_keeps_what_is_sure():
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


def test_a_flash_leaves_no_trace_in_the_plate(texture):
    frames, masks = disc_take(texture, [(16 + 32 * i / 19, 32) for i in range(20)])
    frames[7] = 255
    plate = background_plate(frames, masks).picture
    assert np.abs(plate.astype(int) - texture).max() <= 1


def test_someone_who_stands_still_most_of_the_time_leaves_no_ghost(texture):
    walk = [(20, 32)] * 50 + [(20 + 3 * i, 32) for i in range(10)]
    plate = background_plate(*disc_take(texture, walk))
    assert plate.seen[32, 20]
    assert np.abs(plate.picture[plate.seen].astype(int) - texture[plate.seen]).max() <= 1


def test_what_the_person_always_covers_is_marked(texture):
    plate = background_plate(*disc_take(texture, [(32, 32)] * 30))
    assert not plate.seen[32, 32]
    assert not plate.seen[32, 44]
    assert plate.seen[32, 52]


def test_two_scenes_leave_the_plate_of_the_longer_one(texture):
    frames, masks = disc_take(texture, [(16 + 32 * i / 29, 32) for i in range(30)])
    frames[20:] = np.where(masks[20:, ..., None] > 0, frames[20:], 20)
    plate = background_plate(frames, masks)
    far = cv2.dilate(masks.max(axis=0), np.ones((9, 9))) == 0
    assert np.abs(plate.picture[far].astype(int) - texture[far]).max() <= 1
    found = [plate_mismatch(frame, mask, plate) for frame, mask in zip(frames, masks, strict=True)]
    assert max(found[:20]) < 0.15
    assert min(found[20:]) > 0.4


WIDE = 256


def wobbly_take(frames, *, seed=0):
    """A textured person moved by fractions of a pixel, its true share, a network's poor mask."""
    random = np.random.default_rng(seed)

    def smooth(shape, blur):
        noise = cv2.GaussianBlur(random.normal(0, 1, shape).astype(np.float32), (0, 0), blur)
        return noise / noise.std()

    cloth = np.array((150, 110, 95)) + 12 * smooth((WIDE, WIDE, 3), 3)
    wall = np.clip(np.array((90, 115, 140)) + 15 * smooth((WIDE, WIDE, 3), 5), 0, 255)
    y, x = np.mgrid[:WIDE, :WIDE].astype(np.float32)
    pictures, truths, masks = [], [], []
    for frame in range(frames):
        shift = 0.37 * frame
        matrix = np.array([[1, 0, shift], [0, 1, 0]])
        moved = cv2.warpAffine(cloth, matrix, (WIDE, WIDE), borderMode=cv2.BORDER_REFLECT)
        away = np.hypot(x - 120 - shift, (y - 130) * 0.8)
        truth = np.clip((70 - away) / 1.6 + 0.5, 0, 1)
        shown = truth[..., None] * moved + (1 - truth[..., None]) * wall
        pictures.append(np.clip(shown + random.normal(0, 1.5, shown.shape), 0, 255))
        astray = 1.5 * np.stack((smooth((WIDE, WIDE), 14), smooth((WIDE, WIDE), 14)), axis=-1)
        poor = cv2.remap(
            cv2.GaussianBlur(truth, (0, 0), 2), np.stack((x, y), axis=-1) + astray, None,
            cv2.INTER_LINEAR,
        )  # fmt: skip
        truths.append(truth)
        masks.append(np.clip(255 * poor, 0, 255))
    return (
        np.stack(pictures).astype(np.uint8), np.stack(truths), np.stack(masks).astype(np.uint8),
        wall.astype(np.uint8),
    )  # fmt: skip


def edge_error(truths, masks):
    found = [
        contour_offsets(truth, mask.astype(np.float32) / 255)
        for truth, mask in zip(truths, masks, strict=True)
    ]
    return float(np.sqrt((np.concatenate(found) ** 2).mean()))


def test_before_a_known_background_the_edge_is_true_to_a_fifth_of_a_pixel():
    pictures, truths, masks, wall = wobbly_take(4)
    plate = Plate(wall, np.ones((WIDE, WIDE), bool))
    found = [complete_silhouette(p, m, plate) for p, m in zip(pictures, masks, strict=True)]
    assert edge_error(truths, masks) > 1.2
    assert edge_error(truths, found) < 0.2
    # And as soft as it is, wherever the edge is: 1.6 px wide.
    rim = np.abs(truths - 0.5) < 0.5
    assert np.abs(np.stack(found)[rim] / 255 - truths[rim]).mean() < 0.1


def test_before_an_unknown_background_the_edge_is_better_than_the_networks():
    pictures, truths, masks, wall = wobbly_take(4)
    plate = Plate(wall, np.zeros((WIDE, WIDE), bool))
    found = [complete_silhouette(p, m, plate) for p, m in zip(pictures, masks, strict=True)]
    assert edge_error(truths, found) < 0.6 * edge_error(truths, masks)


def test_in_a_flash_the_plate_does_not_count():
    pictures, truths, masks, wall = wobbly_take(1)
    plate = Plate(wall, np.ones((WIDE, WIDE), bool))
    bright = np.clip(pictures[0].astype(int) + 80, 0, 255).astype(np.uint8)
    found = complete_silhouette(bright, masks[0], plate)
    assert plate_mismatch(bright, masks[0], plate) > 0.9
    assert edge_error(truths, [found]) < edge_error(truths, masks)


def test_a_fringe_of_background_is_taken_away():
    plate = Plate(np.full((WIDE, WIDE, 3), 100, np.uint8), np.ones((WIDE, WIDE), bool))
    picture = plate.picture.copy()
    picture[:, :128] = (180, 140, 60)
    x = np.arange(WIDE, dtype=np.float32)
    # The network is unsure around an edge 3 px beyond the person.
    mask = np.tile(np.round(255 * np.clip((131 - x) / 14 + 0.5, 0, 1)), (WIDE, 1)).astype(np.uint8)
    found = complete_silhouette(picture, mask, plate)
    assert (found[:, :127] >= mask[:, :127]).all()
    assert found[20:-20, 129:].max() < 64 < 128 < mask[:, 130].min()


@pytest.mark.parametrize(("size", "sure"), [(8, 255), (2, 200)])
def test_a_spot_in_the_backgrounds_color_stays_person(size, sure):
    """A large one where the network is sure, a small one in any case."""
    plate = Plate(np.full((WIDE, WIDE, 3), 100, np.uint8), np.ones((WIDE, WIDE), bool))
    picture = plate.picture.copy()
    picture[:, :128] = (180, 140, 60)
    picture[100 : 100 + size, 126 - size : 126] = 100
    mask = np.zeros((WIDE, WIDE), np.uint8)
    mask[:, :128] = sure
    assert (complete_silhouette(picture, mask, plate)[:, :126] >= sure).all()
