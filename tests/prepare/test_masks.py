"""Masks: steady in time, sharp in space, hair back in its place. No network runs here."""

import cv2
import numpy as np
import pytest

from sspnerf.prepare.masks import (
    STEADY_REACH,
    SilhouetteFilter,
    box_to_window,
    fit,
    head_box,
    one_opencv_thread,
    sharpen_silhouette,
    window_to_frame,
)

SIDE = 256


def half_picture(edge):
    """Dark to the left of an edge, light to the right."""
    picture = np.full((SIDE, SIDE, 3), 40, dtype=np.uint8)
    picture[:, edge:] = 210
    return picture


def soft_mask(edge, width):
    x = np.arange(SIDE, dtype=np.float32)
    return np.tile(np.clip((edge - x) / width + 0.5, 0, 1), (SIDE, 1))


def test_a_blurred_mask_comes_nearer_to_the_edge_of_the_picture():
    truth = soft_mask(128, 0.01)
    before = soft_mask(128, 8)
    after = sharpen_silhouette(half_picture(128), before)
    assert np.abs(after - truth).mean() < 0.85 * np.abs(before - truth).mean()


def test_a_misplaced_mask_moves_to_the_edge_of_the_picture():
    before = soft_mask(129, 6)
    after = sharpen_silhouette(half_picture(128), before)
    truth = soft_mask(128, 0.01)
    assert np.abs(after - truth).mean() < 0.85 * np.abs(before - truth).mean()


def test_flicker_of_a_still_picture_is_damped():
    random = np.random.default_rng(0)
    picture = half_picture(128)
    filtered, given = [], []
    silhouette = SilhouetteFilter(SIDE)
    for _ in range(12):
        given.append(soft_mask(128 + random.normal(0, 2), 6))
        filtered += silhouette.push(picture, given[-1])
    filtered += silhouette.flush()
    raw = np.abs(np.diff([sharpen_silhouette(picture, mask) for mask in given], axis=0)).mean()
    assert np.abs(np.diff(filtered, axis=0)).mean() < 0.4 * raw


def test_a_moving_edge_does_not_lag():
    edges = [100 + 6 * step for step in range(9)]
    silhouette = SilhouetteFilter(SIDE)
    masks = [m for edge in edges for m in silhouette.push(half_picture(edge), soft_mask(edge, 4))]
    masks += silhouette.flush()
    found = [(mask > 0.5).sum(axis=1).mean() for mask in masks]
    np.testing.assert_allclose(found, edges, atol=1.5)


@pytest.mark.parametrize("frames", [0, 1, STEADY_REACH, STEADY_REACH + 1, 9])
def test_as_many_masks_leave_as_frames_enter(frames):
    silhouette = SilhouetteFilter(SIDE)
    left = [len(silhouette.push(half_picture(99), soft_mask(99, 4))) for _ in range(frames)]
    assert sum(left) + len(silhouette.flush()) == frames


def test_hair_returns_to_its_place():
    frame = np.zeros((100, 100), np.float32)
    cv2.circle(frame, (60, 30), 12, 1.0, -1)
    box = np.array([30.5, -4.25, 61.0])
    window = cv2.warpAffine(frame, box_to_window(box, 256), (256, 256))
    back = window_to_frame(window, box, 100)
    assert np.abs(back - frame).mean() < 0.01
    assert back[30, 60] == pytest.approx(1, abs=1e-3)


def test_the_head_box_reaches_above_the_face():
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, :2] = np.random.default_rng(0).uniform((40, 50), (60, 80), (478, 2))
    x0, y0, side = head_box(landmarks)
    assert side == pytest.approx(2.4 * 30, rel=0.02)
    assert x0 + side / 2 == pytest.approx(50, abs=0.5)
    assert 65 - y0 > side / 2


def test_fitting_averages_where_it_shrinks():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = [[[100] * 3, [0] * 3], [[0] * 3, [100] * 3]]
    assert fit(picture, 2)[0, 0].tolist() == [50, 50, 50]
    assert fit(picture, 4) is picture


def test_opencvs_threads_are_given_back():
    before = cv2.getNumThreads()
    with one_opencv_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before
