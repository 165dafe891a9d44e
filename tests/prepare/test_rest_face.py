"""The face at rest, against simulated truth."""

import numpy as np
import pytest

from prepare.simulated import CAMERA, as_landmarks, project, simulate
from sspnerf.prepare import rest_face
from sspnerf.prepare.rest_face import find_rest, guess_rest, triangulate_rest


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


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_reading_in_blocks_changes_nothing(monkeypatch, block):
    take = simulate(20, 30, seed=5)
    noisy = as_landmarks(take) + np.random.default_rng(0).normal(0, 1, (30, 20, 3))
    whole = find_rest(noisy, take.poses, CAMERA)
    monkeypatch.setattr(rest_face, "BLOCK", block)
    np.testing.assert_allclose(find_rest(noisy, take.poses, CAMERA), whole, atol=1e-9)


def test_only_chosen_frames_are_asked():
    take = simulate(20, 30, seed=5)
    landmarks = as_landmarks(take)
    chosen = np.array([1, 4, 5, 9, 20, 28])
    rest = np.setdiff1d(np.arange(30), chosen)
    landmarks[rest] = np.nan
    found = find_rest(landmarks, take.poses[chosen], CAMERA, frames=chosen)
    np.testing.assert_allclose(found, take.rest, atol=1e-6)
