"""Head poses and the face at rest, against simulated truth."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from prepare.simulated import CAMERA, FLIP, project, simulate
from sspnerf.prepare.pose_refinement import refine_poses
from sspnerf.prepare.tracking import (
    complete_poses,
    guess_rest,
    head_to_camera_pose,
    interpolate_lost,
    invert_rigid,
    nearest_rotations,
    smooth_poses,
    triangulate_rest,
)


def camera_errors(found, truth):
    """Rotation in degrees, sideways and depth in mm, of the face's middle in camera space."""
    found_place = invert_rigid(found)[:, :3, 3]
    true_place = invert_rigid(truth)[:, :3, 3]
    error = 10 * np.abs(found_place - true_place)
    return np.degrees(rotation_angles(found, truth)), error[:, :2].max(axis=1), error[:, 2]


def rotation_angles(first, second):
    """The angle between two rotations, radians."""
    turn = first[..., :3, :3].swapaxes(-1, -2) @ second[..., :3, :3]
    return Rotation.from_matrix(turn).magnitude()


def disturbed(take, seed):
    """1 px of noise, and one landmark in ten anywhere within 30 px."""
    random = np.random.default_rng(seed)
    seen = take.seen_px + random.normal(0, 1, take.seen_px.shape)
    lost = random.random(seen.shape[:2]) < 0.1
    seen[lost] += random.uniform(-30, 30, (lost.sum(), 2))
    return seen


def rough(poses, seed):
    """Poses as a single frame gives them: 2 degrees and 3 mm off."""
    random = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(random.normal(0, 0.02, (len(poses), 3))).as_matrix()
    guess = poses.copy()
    guess[:, :3, :3] = poses[:, :3, :3] @ turn
    guess[:, :3, 3] += random.normal(0, 0.3, (len(poses), 3))
    return guess


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


def test_the_face_at_rest_is_found_from_exact_views():
    take = simulate(40, 60, seed=2)
    np.testing.assert_allclose(
        triangulate_rest(take.seen_px, take.poses, CAMERA), take.rest, atol=1e-8
    )


def test_the_face_at_rest_is_found_from_noisy_views_within_a_millimetre():
    take = simulate(40, 200, seed=3)
    noise = np.random.default_rng(4).normal(0, 1, take.seen_px.shape)
    found = triangulate_rest(take.seen_px + noise, take.poses, CAMERA)
    # Depth of a point is what is worst known: 1 px of 512 over 200 frames and 12 degrees.
    assert np.abs(found - take.rest).max() < 0.25
    assert np.abs(found - take.rest).mean() < 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_poses_are_found_among_noise_and_outliers(seed):
    take = simulate(100, 150, seed)
    refined = refine_poses(rough(take.poses, seed), take.rest, disturbed(take, seed), CAMERA)
    rotation, sideways, depth = camera_errors(refined.poses, take.poses)
    # 1 px of noise on 100 points leaves 0.3 degrees in a single frame; neighbours in time help.
    assert np.sqrt((rotation**2).mean()) < 0.3
    assert sideways.max() < 0.5
    assert depth.max() < 3.0


def test_refinement_does_not_lag():
    take = simulate(100, 150, seed=5)
    refined = refine_poses(take.poses, take.rest, disturbed(take, 5), CAMERA).poses
    turning = np.degrees(rotation_angles(refined[1:], take.poses[:-1]))
    on_time = np.degrees(rotation_angles(refined[1:], take.poses[1:]))
    later = np.degrees(rotation_angles(refined[:-1], take.poses[1:]))
    assert on_time.mean() < 0.5 * turning.mean()
    assert turning.mean() == pytest.approx(later.mean(), rel=0.1)


def test_refinement_makes_steady_what_single_frames_shake():
    take = simulate(100, 150, seed=6)
    guess = rough(take.poses, 6)
    refined = refine_poses(guess, take.rest, disturbed(take, 6), CAMERA).poses
    shaking = [np.abs(np.diff(poses[:, :3, :3], 2, axis=0)).mean() for poses in (guess, refined)]
    assert shaking[1] < shaking[0] / 5


def test_a_lost_stretch_follows_from_its_neighbours():
    take = simulate(100, 150, seed=7)
    seen = disturbed(take, 7)
    seen[70:75] = np.nan
    refined = refine_poses(take.poses, take.rest, seen, CAMERA)
    rotation, _, depth = camera_errors(refined.poses, take.poses)
    assert rotation[70:75].max() < 2.0
    assert depth[70:75].max() < 5.0


@pytest.mark.parametrize("lost", [slice(0, 40), slice(110, 150)], ids=["start", "end"])
def test_a_face_lost_at_an_end_leaves_the_head_where_it_was(lost):
    take = simulate(100, 150, seed=7)
    seen = disturbed(take, 7)
    seen[lost] = np.nan
    refined = refine_poses(take.poses, take.rest, seen, CAMERA).poses
    nearest = refined[40] if lost.start == 0 else refined[109]
    np.testing.assert_array_equal(refined[lost], np.tile(nearest, (40, 1, 1)))
    rotation, _, depth = camera_errors(refined[40:110], take.poses[40:110])
    assert rotation.max() < 1.5
    assert depth.max() < 5.0


def as_landmarks(take):
    """What MediaPipe would say: depth relative to the head's origin, in px-like units."""
    in_camera = np.linalg.inv(take.poses)
    depth = np.einsum("fj,pj->fp", in_camera[:, 2, :3], take.rest)
    z = depth / in_camera[:, 2, 3, None] * CAMERA.fx
    return np.concatenate((take.seen_px, z[..., None]), axis=-1)


def test_depth_is_guessed_from_single_pictures():
    take = simulate(50, 3, seed=3)
    found = guess_rest(as_landmarks(take), take.poses, CAMERA)
    np.testing.assert_allclose(found, take.rest, atol=1e-9)


def test_a_head_that_does_not_turn_keeps_the_guessed_depth():
    take = simulate(50, 60, seed=3)
    still = np.tile(take.poses[:1], (60, 1, 1))
    seen = project(still, take.rest) + np.random.default_rng(0).normal(0, 0.5, (60, 50, 2))
    guess = take.rest + np.array([0, 0, 0.3])
    found = triangulate_rest(seen, still, CAMERA, guess=guess)
    np.testing.assert_allclose(found, take.rest, atol=0.6)


def test_a_guess_hardly_bends_what_many_frames_say():
    take = simulate(50, 150, seed=3)
    wrong = take.rest + np.array([0.0, 0.0, 1.0])
    found = triangulate_rest(take.seen_px, take.poses, CAMERA, guess=wrong)
    np.testing.assert_allclose(found, take.rest, atol=0.05)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_are_refined_too(frames):
    take = simulate(100, frames, seed=8)
    refined = refine_poses(take.poses, take.rest, take.seen_px, CAMERA)
    # Three frames of a real turn bend a little against the temporal term.
    np.testing.assert_allclose(refined.poses, take.poses, atol=5e-3)
    assert refined.reprojection_px < 0.02


def test_lost_frames_are_interpolated_and_the_ends_hold():
    values = np.array([np.nan, 1.0, np.nan, np.nan, 4.0, np.nan])
    valid = np.isfinite(values)
    np.testing.assert_allclose(interpolate_lost(values, valid), [1, 1, 2, 3, 4, 4])


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
