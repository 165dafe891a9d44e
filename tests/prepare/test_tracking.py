"""The whole track of a face, against simulated truth and with everything that goes wrong."""

import tracemalloc

import numpy as np
import pytest

from prepare.simulated import (
    CAMERA,
    camera_errors,
    observations,
    rotation_angles,
    simulate,
)
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.steadiness import lag
from sspnerf.prepare.tracking import track_face


def rms(values):
    return np.sqrt((values**2).mean())


@pytest.mark.parametrize("frame_rate_hz", [25.0, 60.0])
def test_the_track_is_true_among_noise_and_outliers(frame_rate_hz):
    take = simulate(478, round(8 * frame_rate_hz), 0, frame_rate_hz=frame_rate_hz)
    track = track_face(observations(take, 0), CAMERA, frame_rate_hz=frame_rate_hz)
    rotation, sideways, depth = camera_errors(track.poses, take.poses)
    assert rms(rotation) < 0.3
    # The worst frame.
    assert rotation.max() < 1.0
    assert sideways.max() < 0.5
    assert depth.max() < 3.0
    assert track.valid.all()
    assert track.intrinsics == CAMERA
    assert abs(lag(take.poses, track.poses)) < 0.1


def test_the_face_at_rest_is_true():
    take = simulate(478, 200, 0)
    track = track_face(observations(take, 0), CAMERA)
    error = np.linalg.norm(track.rest - take.rest[:468], axis=1)
    # cm; in depth, 1 px of noise over 12 degrees of turning.
    assert np.median(error) < 0.2


def test_raw_poses_are_what_was_observed():
    take = simulate(478, 30, 0)
    observed = observations(take, 0)
    track = track_face(observed, CAMERA)
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(np.linalg.inv(track.raw_poses), flip @ observed.head_transforms)


@pytest.mark.parametrize(
    "lost",
    [[0], [29], list(range(0, 30, 2)), list(range(15)), list(range(1, 30))],
    ids=["first", "last", "every second", "first half", "all but one"],
)
def test_lost_frames_are_filled_in_and_not_valid(lost):
    take = simulate(478, 30, 2)
    observed = observations(take, 2)
    for part in observed:
        part[lost] = np.nan
    track = track_face(observed, CAMERA)
    assert np.flatnonzero(~track.valid).tolist() == lost
    for array in (track.poses, track.raw_poses, track.landmarks, track.blendshapes, track.rest):
        assert np.isfinite(array).all()
    np.testing.assert_allclose(np.linalg.det(track.poses[:, :3, :3]), np.ones(30), atol=1e-9)
    # What was observed is left as it was.
    assert np.isnan(observed.landmarks[lost]).all()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_are_tracked(frames):
    take = simulate(478, frames, 3)
    track = track_face(observations(take, 3, noise_px=0.1), CAMERA)
    assert track.valid.all()
    assert np.isfinite(track.poses).all()
    assert track.reprojection_px < 15


def test_a_still_picture_does_not_move():
    take = simulate(478, 1, 4)
    one = observations(take, 4)
    track = track_face(Observations(*(part.repeat(40, axis=0) for part in one)), CAMERA)
    assert track.repeated.tolist() == [False] + [True] * 39
    np.testing.assert_array_equal(track.poses, track.poses[:1].repeat(40, axis=0))


def test_another_face_for_a_moment_is_not_believed():
    take = simulate(478, 60, 5)
    observed = observations(take, 5)
    other = observations(simulate(478, 60, 99), 99)
    observed.landmarks[30] = other.landmarks[30] + np.float32([180, 0, 0])
    observed.head_transforms[30] = other.head_transforms[30]
    track = track_face(observed, CAMERA)
    assert np.flatnonzero(~track.valid).tolist() == [30]
    rotation, _, _ = camera_errors(track.poses, take.poses)
    assert rotation[30] < 1.0


def test_another_face_in_the_same_place_is_not_believed():
    take = simulate(478, 100, 5)
    observed = observations(take, 5, noise_px=0.3)
    middle = observed.landmarks[40:43].mean(axis=1, keepdims=True)
    random = np.random.default_rng(0)
    stretch = random.normal(0, 12, observed.landmarks.shape[1:]).astype(np.float32)
    observed.landmarks[40:43] = middle + (observed.landmarks[40:43] - middle) + stretch
    track = track_face(observed, CAMERA)
    assert np.flatnonzero(~track.valid).tolist() == [40, 41, 42]


def test_a_wrong_transform_alone_does_no_harm():
    take = simulate(478, 60, 6)
    observed = observations(take, 6)
    observed.head_transforms[20] = observed.head_transforms[20] @ np.diag([-1.0, 1.0, -1.0, 1.0])
    observed.head_transforms[21, :3, 3] *= -1
    track = track_face(observed, CAMERA)
    assert track.valid.all()
    rotation, sideways, _ = camera_errors(track.poses, take.poses)
    assert rotation.max() < 1.0
    assert sideways.max() < 0.5


def test_profile_views_are_tracked():
    take = simulate(478, 150, 7, swing=7.0)
    track = track_face(observations(take, 7), CAMERA)
    rotation, _, _ = camera_errors(track.poses, take.poses)
    assert rms(rotation[track.valid]) < 0.5
    assert track.valid.mean() > 0.95


def test_pieces_share_the_face_but_not_the_motion():
    take, other = simulate(478, 100, 8), simulate(478, 100, 8, swing=-4.0)
    first, second = observations(take, 8), observations(other, 9)
    both = Observations(
        *(np.concatenate((a[:50], b[50:])) for a, b in zip(first, second, strict=True))
    )
    track = track_face(both, CAMERA, cuts=(50,))
    assert track.valid.all()
    truth = np.concatenate((take.poses[:50], other.poses[50:]))
    found = track.poses
    assert rms(np.degrees(rotation_angles(found[:50], truth[:50]))) < 0.4
    rotation, sideways, _ = camera_errors(found[50:], truth[50:])
    assert rms(rotation) < 0.4
    assert sideways.max() < 1.0


def test_a_piece_without_a_face_holds_the_nearest_pose():
    observed = observations(simulate(478, 60, 8), 8)
    for part in observed:
        part[20:40] = np.nan
    track = track_face(observed, CAMERA, cuts=(20, 40))
    assert np.flatnonzero(~track.valid).tolist() == list(range(20, 40))
    for poses in (track.raw_poses, track.poses):
        np.testing.assert_allclose(poses[20:40], poses[[19]].repeat(20, axis=0), atol=1e-9)


def test_video_of_a_lower_rate_is_tracked_like_itself():
    """25 Hz stored at 30 Hz: each fifth picture twice."""
    take = simulate(478, 100, 10)
    observed = observations(take, 10)
    frames = np.sort(np.concatenate((np.arange(100), np.arange(4, 100, 5))))
    stored = Observations(*(part[frames] for part in observed))
    plain = track_face(observed, CAMERA, frame_rate_hz=25.0)
    track = track_face(stored, CAMERA, frame_rate_hz=30.0)
    np.testing.assert_array_equal(track.repeated, np.r_[False, np.diff(frames) == 0])
    np.testing.assert_allclose(track.poses, plain.poses[frames], atol=0.01)


def test_a_long_lens_is_found_if_the_head_turns_far():
    camera = Intrinsics.from_field_of_view(512, 512, degrees=30.0)
    take = simulate(478, 150, 1, swing=3.0, camera=camera)
    track = track_face(observations(take, 1, noise_px=0.5, camera=camera), CAMERA)
    assert track.is_focal_estimated
    assert track.intrinsics.fx == pytest.approx(camera.fx, rel=0.1)
    # The head is as far away as it appears through that lens, in the raw poses too.
    for poses in (track.poses, track.raw_poses):
        assert np.linalg.norm(poses[:, :3, 3], axis=1).mean() == pytest.approx(
            np.linalg.norm(take.poses[:, :3, 3], axis=1).mean(), rel=0.1
        )


@pytest.mark.slow
def test_ten_minutes_fit_into_little_memory(tmp_path):
    frames, take = 6000, simulate(478, 150, 0)
    observed = observations(take, 0)
    there_and_back = np.abs((np.arange(frames) + 149) % 298 - 149)
    landmarks = np.lib.format.open_memmap(
        tmp_path / "landmarks.npy", mode="w+", dtype=np.float32, shape=(frames, 478, 3)
    )
    landmarks[:] = observed.landmarks[there_and_back]
    long = Observations(landmarks, *(np.array(part[there_and_back]) for part in observed[1:]))
    long.head_transforms[100:110] = np.nan
    tracemalloc.start()
    track = track_face(long, CAMERA)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert track.valid.sum() == frames - 10
    # 5.6 KiB a frame are the landmarks themselves, copied since some are filled in.
    assert peak < frames * 10 * 1024 + 20 * 2**20
