"""Their cameras and ours, against their formulas written out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import written_layout
from sspnerf.exchange.conventions import (
    Similarity,
    fill_poses,
    fit_similarity,
    poses_from_layout,
    poses_to_layout,
)
from sspnerf.geometry.cameras import pixel_directions, project_points
from sspnerf.geometry.intrinsics import Intrinsics

SIZE = written_layout.SIZE
CAMERA = Intrinsics(
    fx=written_layout.FOCAL, fy=written_layout.FOCAL, cx=SIZE / 2, cy=SIZE / 2,
    width=SIZE, height=SIZE,
)  # fmt: skip
angles = st.tuples(*[st.floats(-3, 3) for _ in range(3)])
places = st.tuples(*[st.floats(-20, 20) for _ in range(3)])


def ours(pose, point_cm):
    return project_points(CAMERA, torch.from_numpy(pose), torch.from_numpy(point_cm)).numpy()


def pose_in_front(turn, shift):
    """A camera of ours about 80 cm in front of the face."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, :3] = Rotation.from_rotvec(np.array(turn) / 10).as_matrix() @ pose[:3, :3]
    pose[:3, 3] = np.array([0.0, 0.0, 80.0]) + np.array(shift) / 10
    return pose


@pytest.mark.parametrize("index", range(5))
def test_a_point_lands_where_their_formula_says(index):
    matrix = written_layout.transform_matrix(index)
    for point in (written_layout.DOT_M, np.array([0.07, 0.05, 0.0]), np.array([-0.05, 0.1, 0.02])):
        seen = ours(poses_from_layout(matrix), 100 * point)
        np.testing.assert_allclose(seen, written_layout.place_of(matrix, point), atol=1e-9)


@pytest.mark.parametrize("index", range(3))
def test_a_ray_is_the_one_that_rad_nerf_and_er_nerf_shoot(index):
    """They turn world axes round to (y, z, x), flip y and z of the camera, and scale by 4."""
    matrix = written_layout.transform_matrix(index)
    theirs = np.eye(4)
    for row, source in enumerate((1, 2, 0)):
        right, up, back, origin = matrix[source]
        theirs[row] = [right, -up, -back, 4 * origin]
    column, row = 13, 40
    way = np.array([(column + 0.5 - SIZE / 2) / CAMERA.fx, (row + 0.5 - SIZE / 2) / CAMERA.fy, 1])
    way = theirs[:3, :3] @ (way / np.linalg.norm(way))

    pose = poses_from_layout(matrix)
    pixel = torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64)
    direction = pose[:3, :3] @ pixel_directions(CAMERA, pixel).numpy()
    np.testing.assert_allclose(direction[[1, 2, 0]], way, atol=1e-12)
    np.testing.assert_allclose(pose[[1, 2, 0], 3], 25 * theirs[:3, 3], atol=1e-9)


def test_the_published_obama_camera_stands_76_cm_in_front_of_the_face():
    """Source: pretrained_models/transforms_val.json of AD-NeRF's repository, picture 7272."""
    matrix = np.array(
        [
            [0.9881677031517029, 0.1290179342031479, -0.0829395055770874, -0.04239322990179062],
            [-0.1306266337633133, 0.9913291931152344, -0.014248509891331196, 0.002564680762588978],
            [0.08038204163312912, 0.024914024397730827, 0.9964526891708374, 0.7638522982597351],
            [0, 0, 0, 1],
        ]
    )
    pose = poses_from_layout(matrix)
    np.testing.assert_allclose(pose[:3, 3], [-4.24, 0.26, 76.39], atol=0.01)
    # It looks at the face and is upright: forward against +z, down against +y.
    assert pose[2, 2] < -0.99
    assert pose[1, 1] < -0.98
    np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)


@given(turn=angles, shift=places)
def test_there_and_back_is_the_same_camera(turn, shift):
    pose = pose_in_front(turn, shift)
    np.testing.assert_allclose(poses_from_layout(poses_to_layout(pose)), pose, atol=1e-9)


@given(turn=angles, shift=places, scale=st.floats(0.1, 10))
def test_points_and_cameras_that_move_together_look_the_same(turn, shift, scale):
    world = Similarity(scale, Rotation.from_rotvec(turn).as_matrix(), np.array(shift))
    pose, point = pose_in_front((1, 2, -1), (3, 0, 5)), np.array([4.0, -6.0, 7.0])
    moved = ours(world.move_poses(pose), world.move_points(point))
    np.testing.assert_allclose(moved, ours(pose, point), atol=1e-6)


@given(turn=angles, shift=places, scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_a_similarity_is_found_from_points(turn, shift, scale, seed):
    points = np.random.default_rng(seed).normal(0, 5, (12, 3))
    rotation = Rotation.from_rotvec(turn).as_matrix()
    found = fit_similarity(points, scale * points @ rotation.T + np.array(shift))
    assert found.scale == pytest.approx(scale, rel=1e-9)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, shift, atol=1e-7)


def test_a_mirror_image_is_no_similarity():
    points = np.random.default_rng(0).normal(0, 5, (12, 3))
    found = fit_similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)

    def missed(scale):
        moved = found._replace(scale=scale).move_points(points - points.mean(axis=0))
        return np.linalg.norm(
            moved - moved.mean(axis=0) - (points - points.mean(axis=0)) * [-1, 1, 1]
        )

    # It still has the size that fits best.
    assert missed(found.scale) < min(missed(0.97 * found.scale), missed(1.03 * found.scale))


def test_a_frame_without_a_camera_gets_one_between_its_neighbours():
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[1, :3, :3] = Rotation.from_euler("y", -10, degrees=True).as_matrix()
    poses[3, :3, :3] = Rotation.from_euler("y", 30, degrees=True).as_matrix()
    poses[:, 0, 3] = [np.nan, 1, np.nan, 5, np.nan]
    filled = fill_poses(poses, np.array([False, True, False, True, False]))
    turned = Rotation.from_matrix(filled[:, :3, :3]).as_euler("yxz", degrees=True)[:, 0]
    np.testing.assert_allclose(turned, [-10, -10, 10, 30, 30], atol=1e-9)
    np.testing.assert_allclose(filled[:, 0, 3], [1, 1, 3, 5, 5])
