"""Regions against small pictures drawn by hand."""

import math

import numpy as np
import pytest

from sspnerf.data.semantics import SemanticClass
from sspnerf.evaluate.regions import (
    RegionErrors,
    head_border,
    lips_and_teeth,
    neck_and_torso,
    silhouette,
)

BACKGROUND, SKIN, NECK, TORSO, HAIR = (
    SemanticClass.BACKGROUND,
    SemanticClass.SKIN,
    SemanticClass.NECK,
    SemanticClass.TORSO,
    SemanticClass.HAIR,
)


def rows(*labels):
    """A picture of one column."""
    return np.array(labels, dtype=np.uint8)[:, None]


def marked(mask):
    return np.nonzero(mask[:, 0])[0].tolist()


def test_each_region_has_its_classes():
    labels = np.array([list(SemanticClass)], dtype=np.uint8)
    assert labels[lips_and_teeth(labels)].tolist() == [
        SemanticClass.MOUTH_INTERIOR,
        SemanticClass.LIP,
    ]
    assert labels[neck_and_torso(labels)].tolist() == [NECK, TORSO]


def test_the_border_is_two_pixels_on_either_side_of_where_head_and_neck_meet():
    labels = rows(SKIN, SKIN, SKIN, SKIN, NECK, NECK, TORSO, TORSO)
    assert marked(head_border(labels)) == [2, 3, 4, 5]


def test_hair_over_the_torso_has_a_border_and_background_is_none():
    labels = rows(HAIR, BACKGROUND, TORSO, TORSO, TORSO, BACKGROUND, SKIN)
    assert marked(head_border(labels)) == [0, 2, 4, 6]


def test_the_border_grows_with_the_picture():
    labels = np.where(np.arange(200) < 100, SKIN, TORSO).astype(np.uint8)[:, None]
    assert marked(head_border(labels)) == list(range(94, 106))


@pytest.mark.parametrize("label", [SKIN, TORSO, BACKGROUND])
def test_one_part_alone_has_no_border(label):
    labels = np.full((6, 6), label, np.uint8)
    assert not head_border(labels).any()
    assert not silhouette(labels).any()


def test_the_silhouette_lies_on_both_sides_of_the_outline():
    labels = rows(BACKGROUND, BACKGROUND, BACKGROUND, HAIR, SKIN, SKIN, SKIN)
    assert marked(silhouette(labels)) == [1, 2, 3, 4]


def test_errors_are_pooled_over_pixels_and_not_over_frames():
    errors = RegionErrors()
    truth = np.zeros((4, 1, 3), np.uint8)
    one, three = rows(TORSO, SKIN, SKIN, SKIN), rows(TORSO, TORSO, TORSO, SKIN)
    errors.add(np.full_like(truth, 30), truth, one)
    errors.add(np.full_like(truth, 10), truth, three)
    expected = (30**2 + 3 * 10**2) / 4
    assert errors.psnr()["torso"] == pytest.approx(10 * math.log10(255**2 / expected))


def test_errors_outside_a_region_do_not_count():
    errors = RegionErrors()
    truth = np.full((4, 1, 3), 200, np.uint8)
    picture = truth.copy()
    picture[3] = 0
    errors.add(picture, truth, rows(TORSO, TORSO, BACKGROUND, BACKGROUND))
    assert errors.psnr()["torso"] == 60.0


def test_a_region_that_is_never_seen_has_no_psnr():
    errors = RegionErrors()
    errors.add(*[np.zeros((2, 1, 3), np.uint8)] * 2, rows(SKIN, SKIN))
    assert errors.psnr() == {"lips": None, "torso": None, "border": None, "silhouette": None}
