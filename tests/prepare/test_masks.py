"""Masks: steady in time, sharp in space, hair back in its place."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sspnerf.prepare.masks import (
    HAIR_SIDE,
    PERSON_SIDE,
    STEADY_REACH,
    HairNetwork,
    PersonNetwork,
    SilhouetteFilter,
    _doubled,
    _interleaved,
    box_to_window,
    fit,
    head_box,
    one_thread_each,
    sharpen_silhouette,
    window_to_frame,
)

SIDE = 256
SHARED = Path(__file__).parents[2].parent / "shared"
MODELS = Path(os.environ.get("SSPNERF_MODELS", SHARED / "models"))
has_models = pytest.mark.skipif(not MODELS.is_dir(), reason="no model files in SSPNERF_MODELS")


def half_picture(edge):
    """Dark to the left of an edge, light to the right."""
    picture = np.full((SIDE, SIDE, 3), 40, dtype=np.uint8)
    picture[:, edge:] = 210
    return picture


def soft_mask(edge, width):
    x = np.arange(SIDE, dtype=np.float32)
    return np.tile(np.clip((np.float32(edge) - x) / width + 0.5, 0, 1), (SIDE, 1))


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
    with one_thread_each():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


def filtered(pictures, probabilities):
    silhouette = SilhouetteFilter(SIDE)
    masks = [
        mask
        for picture, probability in zip(pictures, probabilities, strict=True)
        for mask in silhouette.push(picture, probability)
    ]
    return np.stack(masks + silhouette.flush())


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (4, 9), (9, 11), (5, 6)])
def test_a_piece_with_its_neighbours_is_filtered_as_the_whole(start, stop):
    random = np.random.default_rng(0)
    edges = 100 + random.integers(0, 3, 11)
    pictures = [half_picture(edge) for edge in edges]
    probabilities = [soft_mask(edge + random.normal(0, 2), 6) for edge in edges]
    whole = filtered(pictures, probabilities)
    low, high = max(0, start - STEADY_REACH), min(11, stop + STEADY_REACH)
    piece = filtered(pictures[low:high], probabilities[low:high])[start - low : stop - low]
    np.testing.assert_array_equal(piece, whole[start:stop])


def test_one_neighbour_fewer_is_not_enough():
    """The constant is no larger than it must be, and the test above can fail."""
    pictures = [half_picture(100)] * 8
    probabilities = [soft_mask(100 + step, 6) for step in range(8)]
    low = 4 - (STEADY_REACH - 1)
    piece = filtered(pictures[low:], probabilities[low:])[4 - low]
    assert np.abs(piece - filtered(pictures, probabilities)[4]).max() > 1e-3


def test_a_filter_at_512_px_gives_masks_of_that_side():
    silhouette = SilhouetteFilter(512)
    silhouette.push(fit(half_picture(128), 512), soft_mask(128, 6))
    (mask,) = silhouette.flush()
    assert mask.shape == (512, 512)
    assert (mask > 0.5).sum(axis=1).mean() == pytest.approx(256, abs=1)


def test_doubling_is_a_transposed_convolution():
    random = np.random.default_rng(0)
    sizes = ((5, 3, 4), (5, 2, 2, 2), (2,))
    features, weight, bias = (random.normal(size=size).astype(np.float32) for size in sizes)
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(features)[None], torch.from_numpy(weight), torch.from_numpy(bias), stride=2
    )[0]
    found = [_interleaved(plane) for plane in _doubled(features, weight, bias)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def whole_network(name, blob):
    network = cv2.dnn.readNetFromTFLite(str(MODELS / name), engine=cv2.dnn.ENGINE_CLASSIC)
    network.setInput(blob)
    return network.forward()[0]


@has_models
def test_the_person_network_says_what_all_its_layers_say():
    picture = np.random.default_rng(0).integers(0, 256, (PERSON_SIDE, PERSON_SIDE, 3), np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 9)
    picture[60:, 80:180] = (200, 150, 120)
    blob = picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
    expected = whole_network("selfie_segmentation.tflite", blob)[0]
    found = PersonNetwork(MODELS / "selfie_segmentation.tflite").probability(picture)
    assert expected.max() > 20 * expected.min()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


@has_models
def test_the_hair_network_says_what_all_its_layers_say():
    picture = np.full((HAIR_SIDE, HAIR_SIDE, 3), 200, np.uint8)
    cv2.ellipse(picture, (256, 230), (120, 150), 0, 0, 360, (50, 35, 25), -1)
    cv2.ellipse(picture, (256, 280), (90, 120), 0, 0, 360, (210, 160, 130), -1)
    blob = np.zeros((1, 4, HAIR_SIDE, HAIR_SIDE), np.float32)
    blob[0, :3] = picture.transpose(2, 0, 1) * np.float32(1 / 255)
    logits = whole_network("hair_segmentation.tflite", blob)
    expected = cv2.resize(1 / (1 + np.exp(logits[0] - logits[1])), None, fx=0.5, fy=0.5,
                          interpolation=cv2.INTER_AREA)  # fmt: skip
    network = HairNetwork(MODELS / "hair_segmentation.tflite")
    found = network.probability(picture, np.array([0.0, 0.0, HAIR_SIDE]))
    assert expected.max() > 20 * expected.min()
    np.testing.assert_allclose(found, expected, rtol=1e-3)
