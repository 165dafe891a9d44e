"""The torso's own pose, from cloth whose motion is known and from the synthetic speaker's truth."""

import json

import cv2
import numpy as np
import pytest

from prepare.simulated import simulate
from sspnerf.config import SynthConfig
from sspnerf.data.semantics import SemanticClass
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare import torso_alignment
from sspnerf.prepare.torso import (
    TorsoMotion,
    align_torso,
    alignment_residual,
    reliable_region,
    torso_poses,
    unseen_torso_poses,
)
from sspnerf.prepare.torso_alignment import Template, TorsoSurface, look
from sspnerf.prepare.torso_following import align_surely, nudge
from sspnerf.synth.writer import write_synthetic_clip

SIDE = 128
CAMERA = Intrinsics.from_field_of_view(SIDE, SIDE)
DEPTH = 44.0
REFERENCE = 4
ANGLES = np.radians([3.0, 2.0, 1.5, 0.5, 0.0, -0.8, -1.6, -2.0, -3.0])
SHIFTS = np.array(
    [(4, -2), (3, -1.5), (2, -1), (1, 0), (0, 0), (-1, 0.6), (-2.3, 1), (-3, 1), (-4, 2)], float
)
MIDDLE = np.array([64.0, 97.0])


def soft_noise(seed, blur=3.0, size=3 * SIDE):
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), blur).astype(np.float32)
    return np.clip((soft - soft.mean()) * 5 + 128, 0, 255).astype(np.uint8)


def warp(picture, angle, shift, scale=1.0, corner=SIDE):
    """Turn, scale and shift a picture about MIDDLE; `corner` of it lands at the frame's corner."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # OpenCV counts pixel centres from 0, we from 1/2.
    offset = MIDDLE + shift - turn @ (MIDDLE + corner) + turn @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(picture, np.column_stack((turn, offset)), (SIDE, SIDE))


@pytest.fixture(scope="module")
def texture():
    return soft_noise(0)


@pytest.fixture(scope="module")
def frames(texture):
    return np.stack([warp(texture, *motion) for motion in zip(ANGLES, SHIFTS, strict=True)])


def region():
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[70:124, 15:113] = True
    return mask


def align(frames, reference=REFERENCE, mask=None, **settings):
    return align_torso(
        frames, region() if mask is None else mask, reference,
        intrinsics=CAMERA, depth=DEPTH, **settings,
    )  # fmt: skip


def seen_motion(motion):
    """Shift (px) of the torso's middle, and its roll. Shapes (frames, 2), (frames,)."""
    surface = motion.surface
    here = surface.center[None]
    still = surface.move(here, np.zeros(6))[0]
    shift = [surface.move(here, theta)[0] - still for theta in motion.theta]
    return np.array(shift), motion.theta[:, 2]


def test_a_known_motion_is_found(frames):
    motion = align(frames)
    shift, roll = seen_motion(motion)
    # Not the ends: half a window of smoothing holds them back.
    assert np.linalg.norm(shift - SHIFTS, axis=1)[2:-2].max() < 0.4
    assert np.abs(roll - ANGLES)[2:-2].max() < np.radians(0.4)
    np.testing.assert_allclose(motion.theta[REFERENCE], 0, atol=1e-12)
    assert motion.confidence.min() > 0.9
    assert motion.correlation.min() > 0.97
    assert motion.has_motion.all()


def test_a_steady_motion_is_found_within_a_tenth_of_a_pixel(texture):
    shifts = np.outer(np.arange(9) - 4, [0.5, -0.75])
    motion = align(np.stack([warp(texture, 0.0, shift) for shift in shifts]))
    shift, roll = seen_motion(motion)
    assert np.abs(shift - shifts)[2:-2].max() < 0.1
    assert np.abs(roll).max() < np.radians(0.2)


@pytest.mark.parametrize("shift", [(0, 0), (3, -4), (-6, 6)])
def test_a_template_is_found_around_its_place(texture, shift):
    """By whole pixels of the first level, which for these pictures are theirs."""
    surface = TorsoSurface.from_region(region(), CAMERA, depth=DEPTH)
    mask = np.where(region(), np.uint8(255), np.uint8(0))
    template = Template(look(warp(texture, 0.0, np.zeros(2))), mask, surface)
    moved = look(warp(texture, 0.0, np.array(shift, float)))
    theta = nudge(template, moved[0], np.zeros(6))
    place = surface.center[None]
    found = surface.move(place, theta)[0] - surface.move(place, np.zeros(6))[0]
    np.testing.assert_allclose(found, shift, atol=0.05)


def test_what_is_not_sure_is_looked_for_again(texture, monkeypatch):
    """A start beside the place leads nowhere; the place around it is asked, the surer one kept."""
    surface = TorsoSurface.from_region(region(), CAMERA, depth=DEPTH)
    mask = np.where(region(), np.uint8(255), np.uint8(0))
    template = Template(look(warp(texture, 0.0, np.zeros(2))), mask, surface)
    moved = look(warp(texture, 0.0, np.array([1.0, -2.0])))
    beside = np.array([0, 0, 0, 0, 3.5 * DEPTH / CAMERA.fy, 0])
    monkeypatch.setattr(torso_alignment, "ITERATIONS", (0, 0))
    lost, found = template.align(moved, beside), align_surely(template, moved, beside)
    assert lost.confidence < 0.5
    assert found.confidence > 0.7
    shift = (
        surface.move(surface.center[None], found.theta)[0]
        - surface.move(surface.center[None], np.zeros(6))[0]
    )
    np.testing.assert_allclose(shift, [1.0, -2.0], atol=0.6)


def test_leaning_towards_the_camera_is_a_change_of_depth(texture):
    scales = 1 + 0.01 * (np.arange(9) - 4)
    motion = align(np.stack([warp(texture, 0.0, np.zeros(2), scale) for scale in scales]))
    depth = motion.surface.center[2] + motion.theta[:, 5]
    np.testing.assert_allclose((DEPTH / depth)[2:-2], scales[2:-2], atol=0.003)


def test_nothing_lags(texture):
    time = np.arange(40)
    shifts = np.stack((2 * np.sin(time / 4), 0 * time), axis=1)
    motion = align(np.stack([warp(texture, 0.0, shift) for shift in shifts]), reference=20)
    found, true = seen_motion(motion)[0][:, 0], shifts[:, 0] - shifts[20, 0]
    errors = [np.abs(found[5 + lag : 35 + lag] - true[5:35]).mean() for lag in range(-3, 4)]
    assert int(np.argmin(errors)) == 3


def test_the_synthetic_speakers_torso_is_found_within_half_a_pixel_of_256(tmp_path):
    """Points of the true surface, moved by what was found and by the truth."""
    config = SynthConfig(size=128, seconds=2.4, frame_rate_hz=12.5, seed=3)
    path = tmp_path / "speaker"
    write_synthetic_clip(path, config)
    frames, labels = np.load(path / "frames.npy"), np.load(path / "labels.npy")
    truth = np.load(path / "torso_poses.npy").astype(np.float64)
    canonical = np.load(path / "truth" / "canonical.npy")
    manifest = json.loads((path / "clip.json").read_text())
    camera = Intrinsics(**manifest["camera"], width=128, height=128)
    reference = manifest["reference_frame"]
    torso = labels == SemanticClass.TORSO
    motion = align_torso(
        frames, reliable_region(torso, lowest_chin=0), reference,
        intrinsics=camera, depth=48.6, masks=np.where(labels > 0, 255, 0).astype(np.uint8),
    )  # fmt: skip
    points = canonical[reference][torso[reference]][::23].astype(np.float64)
    errors, moved = [], []
    for pose, theta in zip(truth, motion.theta, strict=True):
        expected = project(points, pose, camera)
        here = np.linalg.inv(truth[reference])
        found = motion.surface.move(points @ here[:3, :3].T + here[:3, 3], theta)
        errors.append(np.sqrt(((found - expected) ** 2).sum(axis=1).mean()))
        still = project(points, truth[reference], camera)
        moved.append(np.sqrt(((expected - still) ** 2).sum(axis=1).mean()))
    assert 256 / 128 * np.max(errors) < 0.5
    assert 256 / 128 * np.max(moved) > 1.5


def project(points, camera_to_world, camera):
    to_camera = np.linalg.inv(camera_to_world)
    seen = points @ to_camera[:3, :3].T + to_camera[:3, 3]
    return seen[:, :2] / seen[:, 2:] * camera.fx + (camera.cx, camera.cy)


def test_a_hand_that_passes_does_not_take_the_torso_along(frames):
    """It covers a quarter of the region and carries its own texture, 11 px a frame to the right."""
    hand = soft_noise(5, blur=1.5)
    covered = frames.copy()
    for index in np.delete(np.arange(len(frames)), REFERENCE):
        ellipse = np.zeros((SIDE, SIDE), dtype=np.uint8)
        cv2.ellipse(ellipse, (20 + 11 * int(index), 100), (17, 24), 20, 0, 360, 1, -1)
        moved = hand[50 : 50 + SIDE, 150 - 11 * index : 150 - 11 * index + SIDE]
        covered[index][ellipse > 0] = moved[ellipse > 0] // 2 + 110
    motion, free = align(covered), align(frames)
    rows, columns = np.nonzero(region())
    points = free.surface.lift(np.stack((columns, rows), axis=1)[::50] + 0.5)
    places = [[each.surface.move(points, theta) for theta in each.theta] for each in (motion, free)]
    away = np.sqrt(np.square(np.subtract(*places)).sum(axis=-1).mean(axis=-1))
    assert away.max() < 0.3
    others = np.delete(motion.confidence, REFERENCE)
    assert others.min() > 0.3
    assert others.max() < 0.92
    assert others.min() < 0.75


def test_a_torso_without_texture_is_told_by_its_outline(texture):
    """A plain body before a wall with a strong pattern that stands still."""
    body = np.zeros((SIDE, SIDE), dtype=np.float32)
    cv2.ellipse(body, (64, 128), (46, 60), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    shifts = np.outer(np.arange(7) - 3, [1.0, -0.5])
    wall = texture[:SIDE, :SIDE].astype(np.float32)
    moves = [np.column_stack((np.eye(2), shift)) for shift in shifts]
    shares = [cv2.warpAffine(body, move, (SIDE, SIDE)) for move in moves]
    # What enters at the lower edge is body too.
    for share, shift in zip(shares, shifts, strict=True):
        edge = SIDE - 1 - int(np.ceil(max(0.0, -shift[1])))
        share[edge:] = share[edge - 1]
    pictures = [wall * (1 - s[..., None]) + 60 * s[..., None] for s in shares]
    masks = np.round(255 * np.stack(shares)).astype(np.uint8)
    inside = np.min(shares, axis=0) > 0.99
    pictures = np.stack(pictures).astype(np.uint8)
    motion = align(pictures, 3, inside, masks=masks)
    assert np.abs(seen_motion(motion)[0] - shifts)[1:-1].max() < 0.6
    assert (motion.confidence > 0).all()
    # Well inside, nothing is left to see without the outline.
    deep = cv2.erode(inside.astype(np.uint8), np.ones((25, 25))) > 0
    assert align(pictures, 3, deep) is None


def test_what_the_mask_calls_background_tells_nothing(frames):
    nobody = np.zeros(frames.shape[:3], dtype=np.uint8)
    assert align(frames, masks=nobody) is None
    everybody = np.full_like(nobody, 255)
    np.testing.assert_allclose(align(frames, masks=everybody).theta, align(frames).theta, atol=1e-3)


def test_a_plain_picture_has_no_motion():
    plain = np.full((5, SIDE, SIDE, 3), 90, dtype=np.uint8)
    assert align(plain, 2) is None


def test_a_torso_that_is_hardly_there_is_not_aligned(frames):
    tiny = np.zeros((SIDE, SIDE), dtype=bool)
    tiny[120:, :5] = True
    assert align(frames, mask=tiny) is None
    assert align(frames, mask=np.zeros((SIDE, SIDE), dtype=bool)) is None


def test_noise_is_not_taken_for_motion():
    noise = np.random.default_rng(1).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    assert align(noise) is None


def test_a_region_that_is_half_wall_still_follows_the_torso(frames, texture):
    """The upper third of the region shows a wall that stands still."""
    wall = soft_noise(9)[:SIDE, :SIDE]
    pictures = frames.copy()
    pictures[:, :84] = wall[:84]
    motion = align(pictures)
    away = np.linalg.norm(seen_motion(motion)[0] - SHIFTS, axis=1)
    assert away[2:-2].max() < 0.6
    assert motion.confidence[[0, -1]].max() < 0.85


def test_a_covered_frame_is_bridged(frames):
    covered = frames.copy()
    covered[6] = 0
    motion = align(covered)
    assert motion.confidence[6] == 0
    assert motion.correlation[6] == 0
    assert motion.has_motion.all()
    away = np.linalg.norm(seen_motion(motion)[0] - seen_motion(align(frames))[0], axis=1)
    assert away.max() < 0.7


def test_a_torso_that_jumps_while_it_is_covered_is_found_again(texture):
    shifts = np.array([[0.0, 0.0]] * 6 + [[14.0, -3.0]] * 10)
    pictures = np.stack([warp(texture, 0.0, shift) for shift in shifts])
    pictures[4:7] = 0
    motion = align(pictures, reference=1)
    np.testing.assert_allclose(seen_motion(motion)[0][10:14], shifts[10:14], atol=0.5)


def test_a_torso_that_changes_its_look_is_followed_by_a_new_template():
    """Cloth that slowly becomes other cloth: nothing of the reference is left at the end."""
    first, last = soft_noise(0).astype(np.float32), soft_noise(7).astype(np.float32)
    time = np.linspace(0, 1, 60)
    shifts = np.stack((3 * np.sin(4 * time), 2 * time), axis=1)
    pictures = []
    for share, shift in zip(time, shifts, strict=True):
        mixed = ((1 - share) * first + share * last).astype(np.uint8)
        pictures.append(warp(mixed, 0.0, shift))
    motion = align(np.stack(pictures), reference=0)
    assert (motion.confidence > 0).all()
    assert np.linalg.norm(seen_motion(motion)[0] - shifts, axis=1)[2:-2].max() < 1.0
    assert motion.confidence[-1] < 0.97


def test_pieces_are_aligned_apart_across_a_cut(texture):
    """After the cut the camera is closer and looks elsewhere."""
    first = [warp(texture, 0.0, np.array([0.5 * index, 0.0])) for index in range(6)]
    second = [warp(texture, 0.0, np.array([-9.0, 4.0 + 0.5 * i]), 1.15) for i in range(6)]
    motion = align(np.stack(first + second), reference=2, cuts=(6,))
    assert motion.has_motion.all()
    depth = motion.surface.center[2] + motion.theta[8, 5]
    assert pytest.approx(1.15, abs=0.01) == DEPTH / depth
    # Smoothing does not reach across: the last frame before and the first after stay apart.
    jump = seen_motion(motion)[0][6] - seen_motion(motion)[0][5]
    np.testing.assert_allclose(jump, [-9 - 1.5 - 1.0 + 0.0, 4.0], atol=1.2)


def test_a_piece_without_the_torso_follows_the_head(frames):
    noise = np.random.default_rng(2).integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)
    motion = align(np.concatenate((frames, noise)), cuts=(9,))
    assert motion.has_motion.tolist() == [True] * 9 + [False] * 7
    assert not motion.confidence[9:].any()
    poses = simulate(1, 16, seed=1).poses
    found = torso_poses(motion, poses)
    np.testing.assert_allclose(found[9:], unseen_torso_poses(poses, REFERENCE)[9:])
    np.testing.assert_allclose(found[REFERENCE], poses[REFERENCE], atol=1e-12)


def test_every_frame_is_reported_once(frames):
    noise = np.random.default_rng(2).integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)
    done = []
    align(np.concatenate((frames, noise)), cuts=(9,), on_frame=lambda: done.append(1))
    assert len(done) == 16


def test_one_frame_is_its_own_reference(frames):
    motion = align(frames[:1], 0)
    assert motion.confidence.tolist() == [pytest.approx(1.0, abs=0.02)]
    np.testing.assert_allclose(motion.theta, 0, atol=1e-12)


@pytest.mark.parametrize("side", [32, 48])
def test_tiny_pictures_are_aligned(frames, side):
    small = np.stack([cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in frames])
    mask = cv2.resize(region().astype(np.uint8), (side, side)) > 0
    motion = align_torso(small, mask, REFERENCE, intrinsics=CAMERA.scaled(side, side), depth=DEPTH)
    shift = seen_motion(motion)[0] * SIDE / side
    assert np.linalg.norm(shift - SHIFTS, axis=1)[2:-2].max() < 0.7


def test_a_torso_point_is_found_again_in_the_reference_frame():
    """A torso point at the place where frame i shows it is the reference's, through both poses."""
    generator = np.random.default_rng(3)
    surface = TorsoSurface.from_region(region(), CAMERA, depth=DEPTH)
    theta = np.concatenate((generator.normal(0, 0.05, (5, 3)), generator.normal(0, 1, (5, 3))), 1)
    theta[2] = 0
    motion = TorsoMotion(surface, 2, theta, np.ones(5), np.ones(5), np.ones(5, dtype=bool))
    head = simulate(1, 5, seed=0).poses
    poses = torso_poses(motion, head)
    points = surface.lift(np.array([[75.0, 110.0], [30.0, 90.0]]))
    world = points @ head[2, :3, :3].T + head[2, :3, 3]
    for index in range(5):
        np.testing.assert_allclose(
            project(world, poses[index], CAMERA), surface.move(points, theta[index]), atol=1e-8
        )
    np.testing.assert_allclose(poses[2], head[2], atol=1e-12)


def test_the_derivatives_are_those_of_the_motion():
    surface = TorsoSurface.from_region(region(), CAMERA, depth=DEPTH)
    points = surface.lift(np.array([[75.0, 110.0], [30.0, 90.0]]))
    for index, step in enumerate(1e-5 * np.eye(6)):
        slope = (surface.move(points, step) - surface.move(points, -step)) / 2e-5
        np.testing.assert_allclose(surface.derivatives(points)[:, :, index], slope, atol=1e-5)


def test_the_residual_is_what_is_left_after_moving_back(frames):
    motion = align(frames)
    aligned, unaligned = alignment_residual(frames, region(), motion)
    assert aligned.shape == unaligned.shape == (9,)
    assert aligned[REFERENCE] == unaligned[REFERENCE] == 0
    gray = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(float) for f in frames]
    gray = [cv2.resize(g, (256, 256)) for g in gray]
    large = cv2.resize(region().astype(np.uint8), (256, 256)) > 0
    error = (gray[7] - gray[REFERENCE])[large]
    assert unaligned[7] == pytest.approx(np.abs(error - error.mean()).mean(), rel=0.05)
    assert aligned[2:-2].max() < 0.2 * unaligned[[2, 6]].min()
    sparse, _ = alignment_residual(frames, region(), motion, every=4)
    np.testing.assert_array_equal(sparse, aligned[::4])


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
