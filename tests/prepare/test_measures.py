"""Measures of geometry, labels and sound, against cases whose answer is known."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.measures import (
    FLOOR_DB,
    cut_off,
    face_boxes,
    label_areas,
    loudness_db,
    places_in_camera,
    reprojection_error,
    turn_angles,
    turned_away,
)

RATE = 16000


def face_at(x, y, half=10.0):
    """Landmarks on a ring; the top of the forehead and the chin are its upper and lower ends."""
    angles = np.linspace(0, 2 * np.pi, 478)
    ring = np.stack((x + half * np.sin(angles), y - half * np.cos(angles)), axis=1)
    ring[10], ring[152] = (x, y - half), (x, y + half)
    return ring


def head_pose(turn=(0.0, 0.0, 0.0), place=(0.0, 0.0, 50.0)):
    """camera_to_world of a head turned by yaw, pitch, roll in degrees; `place` in OpenCV axes."""
    to_camera = np.eye(4)
    upright = np.diag([1.0, -1.0, -1.0])
    to_camera[:3, :3] = upright @ Rotation.from_euler("YXZ", turn, degrees=True).as_matrix()
    to_camera[:3, 3] = place
    return np.linalg.inv(to_camera)


def test_a_face_in_the_picture_has_room_and_one_across_the_border_sticks_out():
    faces = np.array([face_at(50, 50), face_at(95, 50), face_at(50, 4), face_at(2, 99)])
    found = face_boxes(faces, 100, 100)
    np.testing.assert_allclose(found.height, 20)
    # 40 px of room; 5, 6 and 9 px outside; of 20 px.
    np.testing.assert_allclose(found.outside, [-2.0, 0.25, 0.3, 0.45], atol=1e-3)


@pytest.mark.parametrize("turn", [(0, 0, 0), (30, 0, 0), (0, -20, 0), (0, 0, 15), (12, 25, -40)])
def test_angles_are_those_that_the_head_was_turned_by(turn):
    found = turn_angles(np.array([head_pose(turn)]))
    np.testing.assert_allclose(found[0], turn, atol=1e-9)


def test_yaw_is_to_the_right_pitch_down_and_roll_counter_clockwise():
    nose = np.array([0.0, 0.0, 10.0])
    forehead = np.array([0.0, 10.0, 0.0])
    rest = places_in_camera(np.array([head_pose()]), nose)[0]
    right = places_in_camera(np.array([head_pose((20, 0, 0))]), nose)[0]
    down = places_in_camera(np.array([head_pose((0, 20, 0))]), nose)[0]
    assert right[0] > rest[0] + 3
    assert down[1] < rest[1] - 3
    tilted = places_in_camera(np.array([head_pose((0, 0, 20))]), forehead)[0]
    assert tilted[0] < -3


def test_a_pose_is_not_turned_against_itself():
    poses = np.array([head_pose((12, 25, -40)), head_pose((17, 25, -40))])
    found = turn_angles(poses, against=poses[0])
    np.testing.assert_allclose(found[0], 0, atol=1e-9)
    assert np.linalg.norm(found[1]) == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("degrees", [0, 10, 50, 90, 135])
def test_a_face_that_turns_aside_up_or_down_looks_past_the_camera(degrees):
    turns = [(degrees, 0, 0), (-degrees, 0, 0), (0, degrees, 0), (degrees, 0, 30)]
    found = turned_away(np.array([head_pose(turn) for turn in turns]))
    np.testing.assert_allclose(found, degrees, atol=1e-5)


def test_places_are_to_the_right_up_and_towards_the_camera():
    found = places_in_camera(np.array([head_pose(place=(1.0, 2.0, 30.0))]), np.zeros(3))
    np.testing.assert_allclose(found, [[1.0, -2.0, -30.0]], atol=1e-12)


def test_landmarks_where_their_vertices_appear_have_no_error_and_others_their_distance():
    camera = Intrinsics(fx=100.0, fy=120.0, cx=50.0, cy=40.0, width=100, height=80)
    vertices = np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 4.0, 2.0], [1.0, 1.0, 1.0]])
    poses = np.array([head_pose(place=(0.0, 0.0, 50.0))] * 3)
    # By hand: the head's y points up and its z to the camera, which is 50 cm away.
    seen = [(50 + 100 * x / (50 - z), 40 - 120 * y / (50 - z)) for x, y, z in vertices]
    landmarks = np.array([seen] * 3)
    landmarks[1, :3] += (3.0, -4.0)
    landmarks[2, 1] += (0.0, 6.0)
    landmarks[:, 3] += 1000.0
    found = reprojection_error(landmarks, vertices, poses, chosen=[0, 1, 2], intrinsics=camera)
    np.testing.assert_allclose(found, [0.0, 5.0, 6 / math.sqrt(3)], atol=1e-9)


def test_areas_are_the_shares_of_the_classes():
    labels = np.zeros((4, 5), np.uint8)
    labels[0], labels[3, :2] = 10, 7
    found = label_areas(labels)
    assert found[[0, 7, 10]].tolist() == [13 / 20, 2 / 20, 5 / 20]
    assert found.sum() == pytest.approx(1)
    assert found.shape == (11,)


def test_loudness_is_that_of_a_sine_and_silence_is_the_floor():
    sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    wave = np.concatenate((sine, np.zeros(RATE // 2), [1.0]))
    found = loudness_db(wave, RATE)
    assert len(found) == 31
    np.testing.assert_allclose(found[:20], 20 * np.log10(0.5 / np.sqrt(2)), atol=0.05)
    np.testing.assert_allclose(found[20:30], FLOOR_DB)
    assert found[30] == 0
    assert loudness_db(np.zeros(0), RATE).shape == (0,)


def test_flat_tops_are_cut_off_and_a_loud_sine_is_not():
    sine = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    wave = 0.98 * sine
    wave[8000:8800] = np.clip(3 * sine[8000:8800], -1, 1)
    assert np.flatnonzero(cut_off(wave, RATE)).tolist() == [10]
    knock = np.zeros(1600)
    knock[[100, 300, 301]] = 1
    assert not cut_off(knock, RATE).any()
