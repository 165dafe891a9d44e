"""Maps of a rendered frame: labels by the palette, depth by a fixed ramp, normals by geometry."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sspnerf.data.semantics import PALETTE
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.render.portrait import RenderedFrame
from sspnerf.render.show import DEPTH_RAMP, DepthRange, depth_range, show, surface_normals

SIDE = 32
CAMERA = Intrinsics(fx=64.0, fy=64.0, cx=SIDE / 2, cy=SIDE / 2, width=SIDE, height=SIDE)
DEPTH = DepthRange(50.0, 85.0)
# Of a surface that faces the camera.
FACING = (128, 128, 255)


def directions(camera=CAMERA):
    """Unit directions through all pixels: x right, y up, z towards the viewer."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    way = np.stack(
        ((x - camera.cx) / camera.fx, -(y - camera.cy) / camera.fy, -np.ones_like(x)), axis=-1
    )
    return way / np.linalg.norm(way, axis=-1, keepdims=True)


def distance_to_plane(normal, *, depth):
    """Along each ray to a plane that crosses the optical axis at a depth, cm."""
    return depth * normal[2] / -(directions() @ np.array(normal))


def frame_of(distance, *, accumulation=1.0, labels=0):
    person = np.broadcast_to(np.float32(accumulation), distance.shape).astype(np.float32)
    named = np.broadcast_to(np.uint8(labels), distance.shape).astype(np.uint8)
    color = np.arange(SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8)
    return RenderedFrame(color, named, person, distance.astype(np.float32))


def normals_of(frame):
    return show(frame, what="normals", intrinsics=CAMERA, depth=DEPTH)


def test_a_plane_that_faces_the_camera_is_coded_exactly():
    picture = normals_of(frame_of(distance_to_plane((0, 0, 1), depth=60.0)))
    np.testing.assert_array_equal(picture, np.broadcast_to(FACING, (SIDE, SIDE, 3)))


@pytest.mark.parametrize(
    ("normal", "code"),
    [
        # 3-4-5 triangles: 128 + 127 * 0.6 = 204.2, 128 - 76.2 = 51.8, 128 + 127 * 0.8 = 229.6.
        ((0.6, 0.0, 0.8), (204, 128, 230)),
        ((-0.6, 0.0, 0.8), (52, 128, 230)),
        ((0.0, 0.6, 0.8), (128, 204, 230)),
        ((0.0, -0.6, 0.8), (128, 52, 230)),
    ],
)
def test_a_tilted_plane_is_coded_right_up_and_towards_the_viewer(normal, code):
    picture = normals_of(frame_of(distance_to_plane(normal, depth=60.0)))
    np.testing.assert_array_equal(picture, np.broadcast_to(code, (SIDE, SIDE, 3)))


def test_a_ball_has_the_normals_of_a_ball():
    camera = Intrinsics.from_field_of_view(256, 256, degrees=20.0)
    way, center, radius = directions(camera), np.array([0.0, 0.0, -60.0]), 8.0
    along = way @ center
    root = along**2 - center @ center + radius**2
    ball = root > 0
    distance = np.where(ball, along - np.sqrt(np.maximum(root, 0)), 0)
    normal = surface_normals(distance.astype(np.float32), ball.astype(np.float32), camera)
    expected = (distance[..., None] * way - center) / radius
    # Where the ball turns away by less than 60 degrees; pixels are 0.08 cm wide, which is 0.6
    # degrees of the ball there at most 1.2.
    inner = ball & ((expected * -way).sum(-1) > 0.5)
    assert inner.mean() > 0.2
    angle = np.degrees(np.arccos(np.clip((normal * expected).sum(-1), -1, 1)))
    assert angle[inner].max() < 0.5
    assert not normal[~ball].any()
    # By hand: straight ahead, and half the radius up and to the right.
    np.testing.assert_allclose(normal[128, 128], (0, 0, 1), atol=0.01)
    row, column = (
        np.abs(way[:, 128, 1] / -way[:, 128, 2] * (60 - 8 * math.sqrt(0.75)) - 4).argmin(),
        np.abs(way[128, :, 0] / -way[128, :, 2] * (60 - 8 * math.sqrt(0.75)) - 4).argmin(),
    )
    np.testing.assert_allclose(normal[row, 128], (0, 0.5, math.sqrt(0.75)), atol=0.02)
    np.testing.assert_allclose(normal[128, column], (0.5, 0, math.sqrt(0.75)), atol=0.02)


def test_a_silhouette_is_no_wall():
    distance = distance_to_plane((0, 0, 1), depth=60.0)
    person = np.zeros((SIDE, SIDE))
    person[8:24, 10:20] = 1.0
    picture = normals_of(frame_of(np.where(person > 0, distance, 0), accumulation=person))
    np.testing.assert_array_equal(picture[person > 0], np.broadcast_to(FACING, (160, 3)))
    assert not picture[person == 0].any()


def test_a_shoulder_behind_the_chin_is_no_wall():
    near, far = (distance_to_plane((0, 0, 1), depth=depth) for depth in (50.0, 62.0))
    in_front = np.zeros((SIDE, SIDE), bool)
    in_front[:16] = True
    picture = normals_of(frame_of(np.where(in_front, near, far)))
    np.testing.assert_array_equal(picture, np.broadcast_to(FACING, (SIDE, SIDE, 3)))


def test_a_lone_pixel_has_no_normal():
    person = np.zeros((SIDE, SIDE))
    person[5, 7] = 1.0
    picture = normals_of(frame_of(np.full((SIDE, SIDE), 60.0), accumulation=person))
    assert not picture.any()


def test_normals_and_depth_fade_with_the_person():
    distance = np.full((SIDE, SIDE), 60.0)
    flat = distance_to_plane((0, 0, 1), depth=60.0)
    picture = normals_of(frame_of(flat, accumulation=0.75))
    np.testing.assert_array_equal(picture[3, 3], (96, 96, 191))
    near = frame_of(np.full_like(distance, 50.0), accumulation=0.5)
    picture = show(near, what="depth", intrinsics=CAMERA, depth=DEPTH)
    np.testing.assert_array_equal(picture[3, 3], np.rint(np.array(DEPTH_RAMP[-1]) / 2))


def test_labels_have_the_colors_of_the_palette():
    labels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 11
    frame = frame_of(np.full((SIDE, SIDE), 60.0), labels=labels)
    picture = show(frame, what="semantics", intrinsics=CAMERA, depth=DEPTH)
    np.testing.assert_array_equal(picture, PALETTE[labels])


def test_accumulation_is_gray():
    person = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
    person[0, :3] = (0, 0.2, 1)
    frame = frame_of(np.full((SIDE, SIDE), 60.0), accumulation=person)
    picture = show(frame, what="accumulation", intrinsics=CAMERA, depth=DEPTH)
    assert picture[0, :3].tolist() == [[0] * 3, [51] * 3, [255] * 3]
    np.testing.assert_array_equal(
        picture, np.rint(frame.accumulation * 255)[..., None].repeat(3, 2)
    )


def test_color_is_the_picture_itself():
    frame = frame_of(np.full((SIDE, SIDE), 60.0))
    shown = show(frame, what="color", intrinsics=CAMERA, depth=DEPTH)
    np.testing.assert_array_equal(shown, frame.color)


def depth_color(distance):
    frame = frame_of(np.full((SIDE, SIDE), distance))
    return show(frame, what="depth", intrinsics=CAMERA, depth=DEPTH)[0, 0].tolist()


@pytest.mark.parametrize(
    ("distance", "color"),
    [
        (50.0, DEPTH_RAMP[-1]),
        (85.0, DEPTH_RAMP[0]),
        # Half way between near and far is the ramp's middle.
        (67.5, DEPTH_RAMP[2]),
        (20.0, DEPTH_RAMP[-1]),
        (200.0, DEPTH_RAMP[0]),
    ],
)
def test_depth_runs_through_the_ramp_from_far_to_near(distance, color):
    assert depth_color(distance) == list(color)


def lightness(color):
    """Luminance of display RGB (BT.709)."""
    linear = (np.array(color) / 255) ** 2.2
    return float(linear @ (0.2126, 0.7152, 0.0722))


@given(st.floats(50, 84), st.floats(0.5, 30))
def test_what_is_nearer_is_brighter(distance, step):
    assert lightness(depth_color(distance)) > lightness(depth_color(min(distance + step, 85)))


def test_the_background_is_black_in_depth():
    frame = frame_of(np.zeros((SIDE, SIDE)), accumulation=0.0)
    assert not show(frame, what="depth", intrinsics=CAMERA, depth=DEPTH).any()


def test_one_depth_range_holds_for_the_whole_film():
    poses = torch.eye(4).repeat(3, 1, 1)
    # 3-4-5 again: the head's origin is 60, 100 and 50 cm from the camera.
    poses[:, :3, 3] = torch.tensor([[36.0, 48.0, 0.0], [0.0, 60.0, 80.0], [0.0, 0.0, 50.0]])
    assert depth_range(poses) == DepthRange(50.0, 85.0)
    poses[:, :3, 3] = torch.tensor([0.0, 0.0, 4.0])
    assert depth_range(poses) == DepthRange(0.0, 29.0)
