"""The torso's own pose, from a texture whose motion is known."""

import cv2
import numpy as np
import pytest

from prepare.simulated import simulate
from sspnerf.geometry.cameras import Intrinsics
from sspnerf.prepare.torso import (
    TorsoMotion,
    align_torso,
    reliable_region,
    torso_poses,
    unseen_torso_poses,
)

SIDE = 128
CAMERA = Intrinsics.from_field_of_view(SIDE, SIDE)
REFERENCE = 4
ANGLES = np.radians([3.0, 2.0, 1.5, 0.5, 0.0, -0.8, -1.6, -2.0, -3.0])
SHIFTS = np.array(
    [(4, -2), (3, -1.5), (2, -1), (1, 0), (0, 0), (-1, 0.6), (-2.3, 1), (-3, 1), (-4, 2)], float
)


@pytest.fixture(scope="module")
def texture():
    """Soft random cloth, larger than the picture."""
    noise = np.random.default_rng(0).integers(0, 256, (3 * SIDE, 3 * SIDE, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 3).astype(np.float32)
    return np.clip((soft - soft.mean()) * 5 + 128, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def frames(texture):
    """The texture turned about the picture's middle and shifted, frame after frame."""
    pictures = []
    middle = np.array([SIDE / 2, SIDE / 2])
    for angle, shift in zip(ANGLES, SHIFTS, strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # Texture pixel (ours, + SIDE) -> picture pixel; OpenCV counts pixel centres from 0.
        offset = middle + shift - turn @ (middle + SIDE) + turn @ [0.5, 0.5] - 0.5
        warp = np.column_stack((turn, offset))
        pictures.append(cv2.warpAffine(texture, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR))
    return np.stack(pictures)


def region():
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[70:124, 15:113] = True
    return mask


def test_a_known_motion_is_found_within_a_fifth_of_a_pixel(frames):
    motion = align_torso(frames, region(), REFERENCE)
    away = motion.center - SIDE / 2
    for index, (angle, shift) in enumerate(zip(ANGLES, SHIFTS, strict=True)):
        if index in (0, len(ANGLES) - 1):
            continue  # smoothing holds the ends: half a step of motion
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        expected = turn @ away + shift - away
        # Smoothing over three frames moves a path of straight steps by a quarter of its bend.
        assert np.linalg.norm(motion.shift[index] - expected) < 0.5
    assert np.abs(motion.angle - ANGLES)[1:-1].max() < np.radians(0.3)
    assert motion.correlation.min() > 0.98


def test_a_steady_motion_is_found_within_a_fifth_of_a_pixel(texture):
    shifts = np.outer(np.arange(7) - 3, [1.25, -0.5])
    pictures = np.stack(
        [
            cv2.warpAffine(texture, np.column_stack((np.eye(2), shift - SIDE)), (SIDE, SIDE))
            for shift in shifts
        ]
    )
    motion = align_torso(pictures, region(), 3)
    assert np.abs(motion.shift - shifts)[1:-1].max() < 0.2
    # Over a strip of 98 px, 0.2 px at its ends are 0.23 degrees.
    assert np.abs(motion.angle).max() < np.radians(0.23)


def test_a_torso_point_is_found_again_in_the_reference_frame():
    """A point at the torso's depth, moved with the picture, lands where the reference shows it."""
    depth, center = 44.0, np.array([60.0, 100.0])
    motion = TorsoMotion(ANGLES, SHIFTS, center, np.ones(len(ANGLES)))
    reference_pose = simulate(1, 3, seed=0).poses[1]
    poses = torso_poses(motion, reference_pose, depth=depth, intrinsics=CAMERA)
    principal = np.array([CAMERA.cx, CAMERA.cy])
    in_reference = np.array([75.0, 110.0])
    point = np.append((in_reference - principal) / CAMERA.fx, 1.0) * depth
    world = reference_pose[:3, :3] @ point + reference_pose[:3, 3]
    for index, (angle, shift) in enumerate(zip(ANGLES, SHIFTS, strict=True)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        seen = turn @ (in_reference - center) + center + shift
        in_camera = np.append((seen - principal) / CAMERA.fx, 1.0) * depth
        canonical = poses[index, :3, :3] @ in_camera + poses[index, :3, 3]
        np.testing.assert_allclose(canonical, world, atol=1e-9)
    np.testing.assert_allclose(poses[REFERENCE], reference_pose, atol=1e-12)


def test_a_torso_that_is_hardly_there_is_not_aligned(frames):
    tiny = np.zeros((SIDE, SIDE), dtype=bool)
    tiny[120:, :5] = True
    assert align_torso(frames, tiny, REFERENCE) is None


def test_noise_is_not_taken_for_motion():
    noise = np.random.default_rng(1).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    assert align_torso(noise, region(), 4) is None


def test_a_covered_frame_is_bridged(frames):
    covered = frames.copy()
    covered[6] = 0
    motion = align_torso(covered, region(), REFERENCE)
    assert motion.correlation[6] == 0
    assert np.isfinite(motion.shift).all()
    seen = align_torso(frames, region(), REFERENCE)
    assert np.linalg.norm(motion.shift[6] - seen.shift[6]) < 1.0


def test_an_unseen_torso_agrees_with_the_head_in_the_reference_frame():
    poses = simulate(1, 50, seed=1).poses
    guessed = unseen_torso_poses(poses, 20)
    np.testing.assert_allclose(guessed[20], poses[20], atol=1e-9)
    moved = np.ptp(guessed[:, :3, 3], axis=0) / np.ptp(poses[:, :3, 3], axis=0)
    assert (moved < 0.6).all()


def test_the_region_is_what_nearly_all_frames_show_below_the_chin():
    first = np.ones((10, 10), dtype=bool)
    second = first.copy()
    second[:, 0] = False
    found = reliable_region([first, second], lowest_chin=5.2)
    assert found.sum() == 4 * 9
    assert not found[:6].any()
    assert not found[:, 0].any()
