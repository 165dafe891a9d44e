"""The landmark distance by hand, with a detector that the test commands, and with the real one."""

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pytest

from sspnerf.errors import SspnerfError
from sspnerf.evaluate import lip_landmarks
from sspnerf.evaluate.held_out import evaluate
from sspnerf.evaluate.lip_landmarks import LipComparison, landmark_distance
from sspnerf.perception.landmarks import FaceObservation

SQUARE = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])


def observe(picture):
    """See lips as far apart as the picture is bright, and no face in a black one."""
    if not picture.any():
        return None
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[13] = 100.0, 0.0, 0.0
    landmarks[14] = 100.0, float(picture.max()), 7.0
    return FaceObservation(landmarks, np.eye(4), np.zeros(52, np.float32))


@pytest.fixture
def painted(monkeypatch):
    """LipComparison with that detector and with two landmarks, 13 and 14."""
    monkeypatch.setattr(lip_landmarks, "_lip_indices", lambda: np.array([13, 14]))
    monkeypatch.setattr(lip_landmarks, "model_path", lambda name: name)
    detector = SimpleNamespace(observe=observe)
    monkeypatch.setattr(
        lip_landmarks, "FaceLandmarker", lambda model, video: contextlib.nullcontext(detector)
    )


def gray(value):
    return np.full((4, 4, 3), value, np.uint8)


def test_a_mouth_that_is_elsewhere_has_no_distance():
    assert landmark_distance(SQUARE + np.array([3.0, -2.0]), SQUARE) == 0.0


def test_a_mouth_twice_as_large_is_half_its_diagonal_away():
    assert landmark_distance(2 * SQUARE, SQUARE) == pytest.approx(2 * math.sqrt(2))


@pytest.mark.usefixtures("painted")
def test_the_distance_is_the_mean_over_frames_where_both_show_a_face():
    with LipComparison() as lips:
        for rendered, filmed in [(10, 30), (50, 10), (0, 10), (20, 20)]:
            lips.add(gray(rendered), gray(filmed))
    # Two points that open by d px lie d / 2 from their mean.
    assert lips.result() == (pytest.approx((10 + 20 + 0) / 3), None)


@pytest.mark.usefixtures("painted")
def test_a_face_in_few_frames_is_no_measurement():
    with LipComparison() as lips:
        for rendered in (0, 0, 0, 20):
            lips.add(gray(rendered), gray(20))
    assert lips.result() == (None, "a face was found in 1 of 4 frames")


@pytest.mark.refuses
def test_without_mediapipe_the_reason_is_told(monkeypatch):
    def missing():
        raise ModuleNotFoundError("no", name="mediapipe")

    monkeypatch.setattr(lip_landmarks, "mediapipe_vision", missing)
    with LipComparison() as lips:
        lips.add(gray(1), gray(1))
    assert lips.result() == (None, "mediapipe is not installed")


@pytest.mark.refuses
def test_without_the_model_file_the_reason_is_told(monkeypatch):
    def missing(name):
        raise SspnerfError(f"cannot download {name}")

    monkeypatch.setattr(lip_landmarks, "model_path", missing)
    monkeypatch.setattr(lip_landmarks, "_lip_indices", lambda: np.array([13, 14]))
    with LipComparison() as lips:
        lips.add(gray(1), gray(1))
    assert lips.result() == (None, "cannot download face_landmarker.task")


def test_the_lips_are_twenty_points_outside_and_twenty_inside():
    pytest.importorskip("mediapipe")
    lips = lip_landmarks._lip_indices()
    assert len(lips) == 40
    # Corners and middles of outer and inner lip, in MediaPipe's canonical face.
    assert set(lips) >= {61, 291, 0, 17, 78, 308, 13, 14}


def test_the_drawn_speaker_has_no_face_for_the_detector(trained_run, models_folder, monkeypatch):
    pytest.importorskip("mediapipe")
    monkeypatch.setenv("SSPNERF_MODELS", str(models_folder))
    scores = evaluate(trained_run, landmarks=True)
    assert scores.landmark_distance is None
    assert scores.landmarks_missing == "a face was found in 0 of 2 frames"
    assert evaluate(trained_run).landmarks_missing == "not asked for"
