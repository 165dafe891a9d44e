"""The 68 landmarks."""

import numpy as np

from sspnerf.data.semantics import SemanticClass
from sspnerf.exchange.ibug68 import (
    MEDIAPIPE_TO_IBUG68,
    ibug68_from_labels,
    ibug68_from_mediapipe,
    write_landmarks,
)


def face_of_boxes():
    """A face whose parts are rectangles. Shape (100, 120)."""
    labels = np.zeros((100, 120), np.uint8)
    for part, (x0, y0, x1, y1) in {
        SemanticClass.HAIR: (30, 5, 90, 40),
        SemanticClass.SKIN: (35, 20, 85, 90),
        SemanticClass.NOSE: (55, 45, 65, 60),
        SemanticClass.LIP: (48, 70, 72, 80),
    }.items():
        labels[y0:y1, x0:x1] = part
    labels[42:46, 42:50] = labels[40:44, 70:78] = SemanticClass.EYE
    labels[36:38, 40:52] = labels[34:36, 68:80] = SemanticClass.BROW
    return labels


def box(points):
    return [*points.min(axis=0), *points.max(axis=0)]


def test_each_group_fills_the_box_of_its_class():
    points = ibug68_from_labels(face_of_boxes())
    assert points.shape == (68, 2)
    np.testing.assert_allclose(box(points[36:42])[::2], [42, 50], atol=0.01)
    np.testing.assert_allclose(points[36:42, 1].mean(), 44, atol=0.01)
    np.testing.assert_allclose(box(points[42:48])[::2], [70, 78], atol=0.01)
    np.testing.assert_allclose(box(points[48:60]), [48, 70, 72, 80], atol=0.01)
    np.testing.assert_allclose(points[8], [60, 90], atol=0.01)
    np.testing.assert_allclose(box(points[17:22])[::2], [40, 52], atol=0.01)
    np.testing.assert_allclose(box(points[31:36]), [55, 60, 65, 60], atol=0.01)


def test_a_closed_eye_is_where_eyes_are():
    labels = face_of_boxes()
    labels[labels == SemanticClass.EYE] = SemanticClass.SKIN
    points = ibug68_from_labels(labels)
    right, left = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    assert 35 < right[0] < 60 < left[0] < 85
    assert 36 < right[1] < 60


def test_a_picture_without_a_face_still_has_boxes_inside_it():
    points = ibug68_from_labels(np.zeros((40, 60), np.uint8))
    assert np.isfinite(points).all()
    assert (points >= 0).all()
    assert (points <= [60, 40]).all()


def test_mediapipes_points_are_chosen_once_each():
    assert len(np.unique(MEDIAPIPE_TO_IBUG68)) == 68
    landmarks = np.arange(478 * 3, dtype=np.float32).reshape(478, 3)
    points = ibug68_from_mediapipe(landmarks)
    # The chin, 152 in MediaPipe's numbers, is the eighth.
    np.testing.assert_array_equal(points[8], landmarks[152, :2])


def test_a_file_holds_a_line_per_point(tmp_path):
    write_landmarks(tmp_path / "0.lms", np.arange(136.0).reshape(68, 2) / 7)
    read = np.loadtxt(tmp_path / "0.lms")
    np.testing.assert_allclose(read, np.arange(136.0).reshape(68, 2) / 7, atol=1e-6)
