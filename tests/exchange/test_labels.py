"""Their parsing against ours: who decides what."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from sspnerf.data.semantics import SemanticClass
from sspnerf.exchange.labels import obey_parts, soft_mask
from sspnerf.exchange.parts import Part


def test_their_parts_win_and_the_head_takes_what_lies_nearest():
    labels = np.full((8, 12), SemanticClass.TORSO, np.uint8)
    labels[:4, :6], labels[:4, 6:] = SemanticClass.HAIR, SemanticClass.SKIN
    labels[4, :] = SemanticClass.NECK
    labels[0] = SemanticClass.BACKGROUND
    parts = np.full((8, 12), Part.TORSO, np.uint8)
    parts[:5], parts[5] = Part.HEAD, Part.NECK
    obeyed = obey_parts(labels, parts)
    # The row that ours takes for neck is theirs' head: hair below hair, skin below skin.
    assert (obeyed[4, :6] == SemanticClass.HAIR).all()
    assert (obeyed[4, 6:] == SemanticClass.SKIN).all()
    assert (obeyed[5] == SemanticClass.NECK).all()
    assert (obeyed[6:] == SemanticClass.TORSO).all()
    assert (obeyed[0] == SemanticClass.BACKGROUND).all()
    np.testing.assert_array_equal(obeyed[1:4], labels[1:4])


def test_a_head_of_which_ours_knows_nothing_is_skin():
    labels = np.full((4, 4), SemanticClass.TORSO, np.uint8)
    assert (obey_parts(labels, np.full((8, 8), Part.HEAD, np.uint8)) == SemanticClass.SKIN).all()


def test_a_soft_outline_passes_through_the_hard_one():
    parts = np.zeros((512, 64), np.uint8)
    parts[200:] = Part.HEAD
    soft = soft_mask(parts).astype(int)
    assert (soft[:195] == 0).all()
    assert (soft[205:] == 255).all()
    # At the border itself half of a pixel pair belongs to the person.
    assert soft[199, 5] + soft[200, 5] == pytest.approx(255, abs=1)
    assert (np.diff(soft[:, 5]) >= 0).all()
    assert 20 < soft[199, 5] < 127
