"""Which frames are believed, and which pictures are shown twice."""

import numpy as np
import pytest

from prepare.simulated import observations, simulate
from sspnerf.prepare.face_frames import FaceBoxes, believable, find_repeated
from sspnerf.prepare.observations import Observations


def believed(observed, cuts=(), rate=25.0):
    return believable(observed, FaceBoxes(observed.landmarks), rate, cuts=cuts)


@pytest.mark.parametrize("frames", [[0], [30], [59], [10, 11, 40]])
def test_a_face_that_jumps_for_a_moment_is_not_believed(frames):
    observed = observations(simulate(478, 60, 0), 0)
    observed.landmarks[frames, :, 0] += 200
    assert np.flatnonzero(~believed(observed)).tolist() == frames


def test_a_face_of_another_size_is_not_believed():
    observed = observations(simulate(478, 60, 0), 0)
    middle = observed.landmarks[20].mean(axis=0)
    observed.landmarks[20] = middle + 0.5 * (observed.landmarks[20] - middle)
    assert np.flatnonzero(~believed(observed)).tolist() == [20]


def test_a_head_that_moves_is_believed():
    assert believed(observations(simulate(478, 200, 1, swing=3.0), 1)).all()


def test_a_face_may_jump_at_a_cut():
    observed = observations(simulate(478, 60, 0), 0)
    observed.landmarks[57:, :, 0] += 200
    assert believed(observed, cuts=(57,)).all()
    assert np.flatnonzero(~believed(observed)).tolist() == [57, 58, 59]


def test_lost_frames_and_nan_landmarks_are_not_believed():
    observed = observations(simulate(478, 30, 0), 0)
    observed.head_transforms[3] = np.nan
    observed.landmarks[7, 100, 1] = np.nan
    assert np.flatnonzero(~believed(observed)).tolist() == [3, 7]


def test_boxes_do_not_depend_on_how_frames_are_read(monkeypatch):
    observed = observations(simulate(478, 30, 0), 0)
    whole = FaceBoxes(observed.landmarks)
    monkeypatch.setattr("sspnerf.prepare.face_frames.BLOCK", 7)
    blocks = FaceBoxes(observed.landmarks)
    np.testing.assert_array_equal(blocks.moved, whole.moved)
    np.testing.assert_array_equal(blocks.center, whole.center)


def shown(observed, frames):
    return Observations(*(part[frames] for part in observed))


def test_pictures_shown_twice_are_found():
    observed = observations(simulate(478, 50, 0), 0)
    frames = np.sort(np.concatenate((np.arange(50), np.arange(4, 50, 5))))
    twice = shown(observed, frames)
    repeated = find_repeated(FaceBoxes(twice.landmarks), np.ones(len(frames), np.bool_))
    np.testing.assert_array_equal(repeated, np.r_[False, np.diff(frames) == 0])


def test_a_face_that_drifts_slowly_is_not_taken_to_stand():
    take = simulate(478, 1, 0)
    landmarks = np.zeros((40, 478, 3), np.float32)
    landmarks[..., :2] = take.seen_px[0]
    # 0.05 px a frame, of a face of 150 px or so: too little to see, but it adds up.
    landmarks[..., 0] += 0.05 * np.arange(40)[:, None]
    repeated = find_repeated(FaceBoxes(landmarks), np.ones(40, np.bool_))
    stands = np.flatnonzero(~repeated)
    assert np.diff(stands).max() <= 3


def test_a_cut_is_no_repetition():
    observed = observations(simulate(478, 4, 0), 0)
    same = shown(observed, [0, 0, 0, 1])
    repeated = find_repeated(FaceBoxes(same.landmarks), np.ones(4, np.bool_), cuts=(1,))
    assert repeated.tolist() == [False, False, True, False]
