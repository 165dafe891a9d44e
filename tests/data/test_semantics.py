"""The classes and their colors."""

import numpy as np
import pytest

from sspnerf.data.semantics import (
    CLASS_NAMES,
    MOUTH_CLASSES,
    PALETTE,
    SEMANTIC_CLASSES,
    SemanticClass,
    color_labels,
)


def test_the_numbers_on_disk_never_change():
    # Clips on disk hold these numbers: another order needs a new schema version.
    names = "background skin brow eye ear nose mouth_interior lip neck torso hair"
    assert list(CLASS_NAMES) == names.split()
    assert [int(member) for member in SemanticClass] == list(range(SEMANTIC_CLASSES))


def test_the_mouth_is_lips_and_what_is_between_them():
    assert {CLASS_NAMES[label] for label in MOUTH_CLASSES} == {"mouth_interior", "lip"}


def test_every_class_has_its_own_color():
    assert PALETTE.shape == (SEMANTIC_CLASSES, 3)
    assert len(np.unique(PALETTE, axis=0)) == SEMANTIC_CLASSES


def test_labels_are_painted_pixel_by_pixel():
    labels = np.array([[0, 9], [10, 6]], dtype=np.uint8)
    painted = color_labels(labels)
    assert painted.dtype == np.uint8
    for row, column in np.ndindex(2, 2):
        np.testing.assert_array_equal(painted[row, column], PALETTE[labels[row, column]])


def test_a_film_of_labels_and_an_empty_one_are_painted_too():
    assert color_labels(np.zeros((2, 3, 4), np.uint8)).shape == (2, 3, 4, 3)
    assert color_labels(np.zeros((0, 3, 4), np.uint8)).shape == (0, 3, 4, 3)


@pytest.mark.refuses
def test_a_value_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="labels hold the value 11; expected 0 to 10"):
        color_labels(np.array([[3, 11]], dtype=np.uint8))
