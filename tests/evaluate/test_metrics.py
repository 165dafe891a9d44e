"""Measures against arithmetic by hand and against plain loops."""

import math

import numpy as np
import pytest

from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.evaluate.metrics import (
    class_iou,
    confusion,
    mouth_agreement,
    mouth_box,
    psnr,
    ssim,
)


@pytest.fixture
def picture():
    return np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_psnr_of_one_wrong_value_is_known(picture):
    changed = picture.copy()
    changed[4, 5, 1] ^= 16
    expected = 10 * math.log10(255**2 / (16**2 / picture.size))
    assert psnr(changed, picture) == pytest.approx(expected)


def test_psnr_does_not_wrap_around_in_uint8():
    dark, bright = np.full((2, 2, 3), 1, np.uint8), np.full((2, 2, 3), 254, np.uint8)
    assert psnr(dark, bright) == psnr(bright, dark) == pytest.approx(0.0684, abs=1e-3)


def test_identical_pictures_have_the_highest_scores(picture):
    assert psnr(picture, picture) == 60.0
    assert ssim(picture, picture) == pytest.approx(1.0)


def test_ssim_falls_with_damage(picture):
    smooth = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], (24, 1, 3))
    shifted = np.roll(smooth, 1, axis=1)
    noisy = (smooth * 0.5 + picture * 0.5).astype(np.uint8)
    assert ssim(smooth, smooth) > ssim(shifted, smooth) > ssim(noisy, smooth)


def test_the_mouth_box_has_its_margin_and_stays_inside():
    labels = np.zeros((128, 128), np.uint8)
    labels[60:64, 50:70] = SemanticClass.LIP
    labels[64, 60] = SemanticClass.MOUTH_INTERIOR
    assert mouth_box(labels) == (48, 58, 72, 67)
    labels[:] = 0
    labels[0, 127] = SemanticClass.LIP
    assert mouth_box(labels) == (125, 0, 128, 3)


def test_no_lips_no_box():
    assert mouth_box(np.zeros((8, 8), np.uint8)) is None


def test_confusion_and_iou_match_plain_loops():
    random = np.random.default_rng(1)
    found = random.integers(0, 4, (9, 7), dtype=np.uint8)
    truth = random.integers(0, 5, (9, 7), dtype=np.uint8)
    iou = class_iou(confusion(found, truth))
    for k in range(SEMANTIC_CLASSES):
        both = sum(f == t == k for f, t in zip(found.flat, truth.flat, strict=True))
        either = sum(k in (f, t) for f, t in zip(found.flat, truth.flat, strict=True))
        if either:
            assert iou[k] == pytest.approx(both / either)
        else:
            assert np.isnan(iou[k])


def test_iou_tells_a_found_class_from_a_true_one():
    found, truth = np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 1]], np.uint8)
    iou = class_iou(confusion(found, truth))
    assert iou[:2].tolist() == [0.75, 0.0]


def test_a_mouth_that_stays_shut_has_no_agreement():
    truth = np.array([0.0, 5.0, 1.0, 8.0])
    assert mouth_agreement(np.zeros(4), truth) is None
    assert mouth_agreement(truth[:2], truth[:2]) is None


def test_a_mouth_that_opens_at_the_wrong_time_disagrees():
    truth = np.array([0.0, 5.0, 1.0, 8.0])
    assert mouth_agreement(0.5 * truth + 3, truth) == 1.0
    assert mouth_agreement(-truth, truth) == -1.0
    assert mouth_agreement(np.roll(truth, 1), truth) < 0
