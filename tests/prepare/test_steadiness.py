"""How much poses shake and whether they lag, by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from prepare.simulated import simulate
from sspnerf.prepare.steadiness import jitter, lag, without_repeated


def moving(frames, rate, *, turn_deg, shift_cm, frequency_hz):
    """A head that turns about the camera's y axis and sways along x and z, as sines."""
    phase = 2 * np.pi * frequency_hz * np.arange(frames) / rate
    to_camera = np.tile(np.eye(4), (frames, 1, 1))
    turn = np.outer(np.radians(turn_deg) * np.sin(phase), [0, 1, 0])
    to_camera[:, :3, :3] = Rotation.from_rotvec(turn).as_matrix()
    to_camera[:, 0, 3] = shift_cm * np.sin(phase)
    to_camera[:, 2, 3] = 40 + 2 * shift_cm * np.sin(phase)
    return np.linalg.inv(to_camera)


@pytest.mark.parametrize("rate", [25.0, 60.0])
def test_a_slow_sway_has_the_acceleration_of_a_sine(rate):
    poses = moving(round(20 * rate), rate, turn_deg=5.0, shift_cm=0.5, frequency_hz=1.0)
    found = jitter(poses, rate)
    # Amplitude * (2 pi f)^2 / sqrt 2.
    size = (2 * np.pi) ** 2 / np.sqrt(2)
    assert found.rotation == pytest.approx(np.radians(5) * size, rel=0.02)
    assert found.sideways == pytest.approx(0.5 * size, rel=0.02)
    assert found.depth == pytest.approx(1.0 * size, rel=0.02)
    # Nothing of it is a shake.
    assert found.rotation_shake < 0.01 * found.rotation
    assert found.depth_shake < 0.01 * found.depth


def test_a_fast_tremble_is_all_shake():
    poses = moving(500, 25.0, turn_deg=0.5, shift_cm=0.05, frequency_hz=9.0)
    found = jitter(poses, 25.0)
    assert found.rotation_shake == pytest.approx(found.rotation, rel=0.03)
    assert found.sideways_shake == pytest.approx(found.sideways, rel=0.03)


def test_a_cut_is_no_acceleration():
    poses = moving(100, 25.0, turn_deg=0.0, shift_cm=0.0, frequency_hz=1.0)
    poses[50:, 0, 3] += 30
    assert jitter(poses, 25.0, cuts=(50,)) == pytest.approx((0.0,) * 6, abs=1e-9)
    assert jitter(poses, 25.0).sideways > 1000


def test_pictures_shown_twice_are_no_acceleration():
    rate = 25.0
    poses = moving(250, rate, turn_deg=5.0, shift_cm=0.5, frequency_hz=1.0)
    shown = np.sort(np.concatenate((np.arange(250), np.arange(4, 250, 5))))
    repeated = np.r_[False, np.diff(shown) == 0]
    fluent = jitter(poses, rate)
    halting = jitter(poses[shown], 30.0, repeated=repeated)
    assert halting == pytest.approx(fluent, rel=0.01)
    assert jitter(poses[shown], 30.0).sideways > 2 * fluent.sideways


def test_a_picture_that_stands_for_long_does_not_change_the_rate():
    repeated = np.zeros(100, np.bool_)
    repeated[40:80] = True
    fresh, rate, cuts = without_repeated(100, 25.0, (90,), repeated)
    assert rate == 25.0
    assert len(fresh) == 60
    assert fresh[cuts[0]] == 90


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_a_lag_is_found(late):
    poses = simulate(1, 200, 0).poses
    raw, other = poses[20:-20], poses[20 - late : -20 - late]
    assert lag(raw, other) == pytest.approx(late, abs=0.05)


def test_half_a_frame_of_lag_is_found():
    poses = simulate(1, 400, 0, frame_rate_hz=50.0).poses
    assert lag(poses[1::2], poses[:-1:2]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_neither_shake_nor_lag(frames):
    poses = np.tile(np.eye(4), (frames, 1, 1))
    assert tuple(jitter(poses, 25.0)) == (0.0,) * 6
    assert lag(poses, poses) == 0.0
