"""Poses fitted to all frames at once, against simulated truth."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from prepare.simulated import (
    CAMERA,
    camera_errors,
    disturbed,
    project,
    rotation_angles,
    rough,
    simulate,
)
from sspnerf.prepare import pose_refinement
from sspnerf.prepare.pose_refinement import refine_poses


@pytest.mark.parametrize("frame_rate_hz", [23.976, 30.0, 60.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_poses_are_found_among_noise_and_outliers(seed, frame_rate_hz):
    take = simulate(100, 150, seed, frame_rate_hz=frame_rate_hz)
    refined = refine_poses(
        rough(take.poses, seed), take.rest, disturbed(take, seed), CAMERA,
        frame_rate_hz=frame_rate_hz,
    )  # fmt: skip
    rotation, sideways, depth = camera_errors(refined.poses, take.poses)
    # 1 px of noise on 100 points leaves 0.3 degrees in a single frame; neighbours in time help.
    assert np.sqrt((rotation**2).mean()) < 0.3
    # The worst frame.
    assert sideways.max() < 0.5
    assert depth.max() < 3.0


def test_a_higher_frame_rate_does_not_smooth_more_slowly():
    """The same motion and noise per second: 60 Hz must end up as steady as 30 Hz."""
    shaking = []
    for rate in (30.0, 60.0):
        take = simulate(100, round(5 * rate), 3, frame_rate_hz=rate)
        refined = refine_poses(
            take.poses, take.rest, disturbed(take, 3), CAMERA, frame_rate_hz=rate
        ).poses
        bend = np.diff(refined[:, :3, :3] - take.poses[:, :3, :3], 2, axis=0) * rate**2
        shaking.append(np.sqrt((bend**2).mean()))
    # Twice as many frames with independent noise: at least as steady, and not by a far stretch.
    assert 0.4 < shaking[1] / shaking[0] < 1.5


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


def test_a_nod_is_round_not_pointed():
    """Judged frame by frame, the head would turn back within one frame."""
    take = simulate(100, 75, seed=4)
    pitch = np.radians(15) * np.exp(-(((np.arange(75) / 25 - 1.5) / 0.2) ** 2))
    to_camera = np.linalg.inv(take.poses[:1]).repeat(75, axis=0)
    turn = Rotation.from_rotvec(np.outer(pitch, [1.0, 0, 0])).as_matrix()
    to_camera[:, :3, :3] = to_camera[:, :3, :3] @ turn
    poses = np.linalg.inv(to_camera)
    nod = take._replace(poses=poses, seen_px=project(poses, take.rest))
    refined = refine_poses(poses, take.rest, disturbed(nod, 4), CAMERA).poses
    assert camera_errors(refined, poses)[0].max() < 1.0
    assert sharpest_turn(refined) < 1.3 * sharpest_turn(poses)


def sharpest_turn(poses):
    """The largest second difference of rotation, radians."""
    rotation = Rotation.from_matrix(poses[:, :3, :3])
    turn = (rotation[:-1].inv() * rotation[1:]).as_rotvec()
    return np.linalg.norm(np.diff(turn, axis=0), axis=1).max()


def test_a_lost_stretch_follows_from_its_neighbours():
    take = simulate(100, 150, seed=7)
    seen = disturbed(take, 7)
    seen[70:75] = np.nan
    refined = refine_poses(take.poses, take.rest, seen, CAMERA)
    rotation, _, depth = camera_errors(refined.poses, take.poses)
    assert rotation[70:75].max() < 2.0
    assert depth[70:75].max() < 5.0
    assert np.isnan(refined.frame_error_px).nonzero()[0].tolist() == [70, 71, 72, 73, 74]


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


def test_pieces_between_cuts_do_not_hear_of_each_other():
    take = simulate(100, 100, seed=9)
    seen = disturbed(take, 9)
    first = refine_poses(take.poses, take.rest, seen, CAMERA, cuts=(50,)).poses
    # What follows the cut is another take, turned the other way.
    other = simulate(100, 100, seed=9, swing=-4.0)
    poses = np.concatenate((take.poses[:50], other.poses[50:]))
    changed = np.concatenate((seen[:50], disturbed(other, 10)[50:]))
    second = refine_poses(poses, take.rest, changed, CAMERA, cuts=(50,)).poses
    # Landmarks' noise is judged over the whole clip, so not to the last digit.
    assert np.degrees(rotation_angles(first[:50], second[:50])).max() < 0.5
    rotation, sideways, _ = camera_errors(second[50:], other.poses[50:])
    assert rotation.max() < 1.0
    assert sideways.max() < 0.5


def test_a_piece_without_any_face_has_the_nearest_pose():
    take = simulate(100, 60, seed=9)
    seen = disturbed(take, 9)
    seen[20:35] = np.nan
    seen[50:] = np.nan
    refined = refine_poses(take.poses, take.rest, seen, CAMERA, cuts=(20, 35, 50)).poses
    np.testing.assert_array_equal(refined[20:35], refined[[19]].repeat(15, axis=0))
    np.testing.assert_array_equal(refined[50:], refined[[49]].repeat(10, axis=0))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_are_refined_too(frames):
    take = simulate(100, frames, seed=8)
    refined = refine_poses(take.poses, take.rest, take.seen_px, CAMERA)
    # Three frames of a real turn bend a little against the temporal term.
    np.testing.assert_allclose(refined.poses, take.poses, atol=5e-3)
    assert refined.reprojection_px < 0.02


@pytest.mark.parametrize("block", [1, 11, 1000])
def test_the_size_of_a_block_changes_nothing(monkeypatch, block):
    take = simulate(30, 25, seed=2)
    seen = disturbed(take, 2)
    seen[3] = np.nan
    whole = refine_poses(take.poses, take.rest, seen, CAMERA).poses
    monkeypatch.setattr(pose_refinement, "BLOCK", block)
    found = refine_poses(take.poses, take.rest, seen, CAMERA).poses
    np.testing.assert_allclose(found, whole, atol=1e-8)
