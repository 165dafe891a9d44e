"""Their four colors."""

import numpy as np
import pytest
from PIL import Image

from sspnerf.data.semantics import SemanticClass
from sspnerf.errors import MediaError
from sspnerf.exchange.parts import Part, parts_of_labels, read_parts, write_parts


def test_labels_become_the_colors_that_their_code_looks_for(tmp_path):
    """Their code reads with OpenCV, blue first, and looks for (255, 0, 0) = head."""
    labels = np.arange(11, dtype=np.uint8)[None]
    write_parts(tmp_path / "0.png", parts_of_labels(labels))
    bgr = np.array(Image.open(tmp_path / "0.png"))[0, :, ::-1]
    expected = np.tile([255, 0, 0], (11, 1))
    expected[SemanticClass.BACKGROUND] = (255, 255, 255)
    expected[SemanticClass.NECK] = (0, 255, 0)
    expected[SemanticClass.TORSO] = (0, 0, 255)
    np.testing.assert_array_equal(bgr, expected)


def test_parts_are_read_back_from_jpeg_too(tmp_path):
    parts = np.repeat(np.arange(4, dtype=np.uint8), 16)[None].repeat(32, axis=0)
    write_parts(tmp_path / "0.png", parts)
    np.testing.assert_array_equal(read_parts(tmp_path / "0.png"), parts)
    Image.open(tmp_path / "0.png").save(tmp_path / "0.jpg", quality=90)
    # JPEG mixes colors at borders only.
    assert (read_parts(tmp_path / "0.jpg") == parts).mean() > 0.97


@pytest.mark.refuses
def test_other_colors_are_no_parsing(tmp_path):
    """SSP-NeRF overwrites the folder with eleven colors of its own."""
    shown = np.full((8, 8, 3), 255, np.uint8)
    shown[4:] = (25, 202, 173)
    Image.fromarray(shown).save(tmp_path / "3.png")
    with pytest.raises(MediaError, match=r"3\.png shows colors like \(25, 202, 173\); expected"):
        read_parts(tmp_path / "3.png")


@pytest.mark.refuses
def test_a_broken_parsing_is_named(tmp_path):
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"3\.png cannot be read"):
        read_parts(tmp_path / "3.png")


def test_every_class_has_one_part():
    parts = parts_of_labels(np.arange(11, dtype=np.uint8))
    assert sorted(np.bincount(parts)) == [1, 1, 1, 8]
    assert parts[SemanticClass.HAIR] == Part.HEAD
