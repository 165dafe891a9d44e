"""Focal lengths told from a face, against simulated truth."""

import numpy as np
import pytest

from prepare.simulated import CAMERA, observations, project, simulate
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.focal_length import estimate_focal_length, move_away
from sspnerf.prepare.head_fit import Take
from sspnerf.prepare.poses import head_to_camera_pose


def estimate(degrees, *, swing, noise_px, frames=200):
    camera = Intrinsics.from_field_of_view(512, 512, degrees=degrees)
    take = simulate(478, frames, 1, swing=swing, camera=camera)
    seen = observations(take, 1, noise_px=noise_px, camera=camera)
    whole = np.ones(frames, np.bool_)
    fitted = Take(seen.landmarks, np.arange(frames), whole, CAMERA, 25.0, (), face_px=150.0)
    return camera, estimate_focal_length(fitted, head_to_camera_pose(seen.head_transforms))


@pytest.mark.parametrize("degrees", [40.0, 25.0])
def test_a_head_that_turns_far_tells_the_focal_length(degrees):
    camera, found = estimate(degrees, swing=3.0, noise_px=0.5)
    assert found.is_estimated
    assert found.intrinsics.fx == pytest.approx(camera.fx, rel=0.1)
    assert found.intrinsics.fy == found.intrinsics.fx
    assert (found.intrinsics.cx, found.intrinsics.width) == (CAMERA.cx, CAMERA.width)


def test_the_assumed_focal_length_stays_if_it_is_right():
    _, found = estimate(63.0, swing=3.0, noise_px=0.5)
    assert not found.is_estimated
    assert found.intrinsics == CAMERA
    assert found.evidence < 0.02


def test_a_head_that_hardly_turns_tells_nothing():
    _, found = estimate(25.0, swing=0.3, noise_px=1.0)
    assert not found.is_estimated
    assert found.intrinsics == CAMERA


def test_a_lens_longer_than_any_that_is_tried_is_not_guessed():
    _, found = estimate(5.0, swing=1.0, noise_px=0.5)
    assert found.evidence > 0.06
    assert not found.is_estimated
    assert found.intrinsics == CAMERA


def test_few_frames_tell_nothing():
    _, found = estimate(25.0, swing=3.0, noise_px=0.5, frames=20)
    assert found == (CAMERA, 0.0, False)


def test_moving_away_with_a_longer_lens_keeps_the_head_in_place():
    take = simulate(3, 5, 0)
    far = move_away(take.poses, 2.0)
    long = Intrinsics(fx=2 * CAMERA.fx, fy=2 * CAMERA.fy, cx=256, cy=256, width=512, height=512)
    middle = np.zeros((1, 3))
    np.testing.assert_allclose(project(far, middle, long), project(take.poses, middle))
