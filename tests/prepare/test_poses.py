"""Rigid transforms through time: conventions, filling in, averaging."""

import numpy as np
from scipy.spatial.transform import Rotation

from prepare.simulated import CAMERA, FLIP, project, simulate
from sspnerf.prepare.poses import (
    complete_poses,
    fill_lost,
    head_to_camera_pose,
    interpolate_lost,
    most_usual_frame,
    nearest_rotations,
    pieces_between,
    smooth_poses,
)


def test_a_head_right_of_and_above_the_optical_axis_appears_there():
    # Head 40 cm in front of MediaPipe's camera, 2 cm to the right, 1 cm up, not turned.
    transform = np.eye(4)
    transform[:3, 3] = (2.0, 1.0, -40.0)
    pose = head_to_camera_pose(transform[None])
    # So the camera stands 40 cm in front of the face, looks at it, and is upright.
    np.testing.assert_allclose(pose[0, :3, 3], [-2.0, -1.0, 40.0], atol=1e-12)
    np.testing.assert_allclose(pose[0, :3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-12)
    (seen,) = project(pose, np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 20.0]]))
    step = CAMERA.fx / 40
    np.testing.assert_allclose(seen[0], [256 + 2 * step, 256 - step], rtol=1e-12)
    # A point further up the head appears further up; one nearer to the camera further out.
    np.testing.assert_allclose(seen[1], [256 + 2 * step, 256 - 4 * step], rtol=1e-12)
    np.testing.assert_allclose(seen[2], [256 + 4 * step, 256 - 2 * step], rtol=1e-12)


def test_poses_come_out_rigid_although_mediapipe_scales_the_face():
    take = simulate(1, 5, seed=1)
    transforms = FLIP @ np.linalg.inv(take.poses)
    transforms[:, :3, :3] *= 1.05
    poses = head_to_camera_pose(transforms)
    rotation = poses[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.tile(np.eye(3), (5, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(rotation, take.poses[:, :3, :3], atol=1e-12)


def test_a_lost_frame_stays_lost_until_it_is_filled_in():
    transforms = np.tile(np.diag([1.0, 1.0, 1.0, 1.0]), (3, 1, 1))
    transforms[1, 2, 3] = np.nan
    assert np.isnan(head_to_camera_pose(transforms)).all(axis=(1, 2)).tolist() == [
        False,
        True,
        False,
    ]


def test_lost_frames_are_interpolated_and_the_ends_hold():
    values = np.array([np.nan, 1.0, np.nan, np.nan, 4.0, np.nan])
    valid = np.isfinite(values)
    np.testing.assert_allclose(interpolate_lost(values, valid), [1, 1, 2, 3, 4, 4])


def test_nothing_is_interpolated_across_a_cut():
    values = np.array([1.0, np.nan, np.nan, 4.0])
    valid = np.isfinite(values)
    np.testing.assert_allclose(interpolate_lost(values, valid, cuts=(2,)), [1, 1, 4, 4])


def test_a_piece_without_any_face_takes_the_nearest_of_the_clip():
    values = np.array([1.0, 2.0, np.nan, np.nan, np.nan, 7.0])
    valid = np.isfinite(values)
    np.testing.assert_allclose(interpolate_lost(values, valid, cuts=(2, 4)), [1, 2, 2, 2, 7, 7])


def test_filling_in_touches_only_what_was_lost():
    values = np.array([[1.0, 2.0], [np.nan, 9.0], [3.0, 6.0]], np.float32)
    fill_lost(values, np.array([True, False, True]))
    np.testing.assert_array_equal(values, [[1, 2], [2, 4], [3, 6]])


def test_pieces_are_all_frames_in_order():
    assert pieces_between((3, 7), 9) == [slice(0, 3), slice(3, 7), slice(7, 9)]
    # Cuts at the ends part nothing.
    assert pieces_between((0, 9), 9) == [slice(0, 9)]


def test_completed_poses_are_rigid_and_keep_what_was_seen():
    take = simulate(1, 9, seed=9)
    valid = np.array([True, False, True, True, False, False, True, True, False])
    poses = np.where(valid[:, None, None], take.poses, np.nan)
    found = complete_poses(poses, valid)
    np.testing.assert_allclose(found[valid], take.poses[valid], atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found[:, :3, :3]), np.ones(9), atol=1e-12)


def test_smoothing_leaves_a_steady_turn_where_it_is():
    turn = Rotation.from_rotvec(np.outer(np.arange(11) * 0.02, [0, 1, 0])).as_matrix()
    poses = np.tile(np.eye(4), (11, 1, 1))
    poses[:, :3, :3] = turn
    np.testing.assert_allclose(smooth_poses(poses)[2:-2], poses[2:-2], atol=1e-12)


def test_the_nearest_rotation_of_a_rotation_is_itself():
    rotation = Rotation.random(5, random_state=0).as_matrix()
    np.testing.assert_allclose(nearest_rotations(rotation), rotation, atol=1e-12)


def test_the_nearest_rotation_never_mirrors():
    mirrored = np.diag([1.0, 1.0, -0.1])[None]
    np.testing.assert_allclose(np.linalg.det(nearest_rotations(mirrored)), [1.0])


def test_the_most_usual_frame_is_neither_turned_nor_moved_nor_lost():
    frames = 12
    to_camera = np.tile(np.eye(4), (frames, 1, 1))
    to_camera[:, 2, 3] = 40
    to_camera[:, 0, 3] = np.linspace(-3, 3, frames) ** 3 / 9
    turn = np.linspace(-0.4, 0.4, frames)[::-1]
    to_camera[:, :3, :3] = Rotation.from_rotvec(np.outer(turn, [0, 1, 0])).as_matrix()
    poses = np.linalg.inv(to_camera)
    valid = np.ones(frames, bool)
    assert most_usual_frame(poses, valid) in (5, 6)
    valid[[5, 6]] = False
    assert most_usual_frame(poses, valid) in (4, 7)
    # Of two pieces the one that shows the face more often counts, and only with its own frames.
    assert most_usual_frame(poses, valid, cuts=(8,)) in (2, 3, 4)
    valid[:7] = False
    assert most_usual_frame(poses, valid, cuts=(8,)) in (9, 10)
