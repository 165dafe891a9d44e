"""Cameras: pixels to rays and back, crops and scales that keep rays, frames as documented."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sspnerf.geometry.cameras import pixel_centers, pixel_directions, project_points
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.geometry.rotations import rigid_transform

CAMERA = Intrinsics(fx=80.0, fy=70.0, cx=25.0, cy=22.0, width=48, height=40)


def close(found, expected):
    """In float64, of pixels: a billionth of a pixel."""
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@given(
    st.floats(0, 48),
    st.floats(0, 40),
    st.floats(0.1, 1e3),
    st.lists(st.floats(-2, 2), min_size=6, max_size=6),
)
def test_a_point_on_a_pixels_ray_appears_at_that_pixel(x, y, distance, vector):
    pose = rigid_transform(torch.tensor(vector, dtype=torch.float64))
    pixel = torch.tensor([x, y], dtype=torch.float64)
    direction = pose[:3, :3] @ pixel_directions(CAMERA, pixel)
    point = pose[:3, 3] + distance * direction
    close(project_points(CAMERA, pose, point), pixel)


def test_directions_are_unit_vectors_towards_the_scene(generator):
    directions = pixel_directions(CAMERA, torch.rand(2, 5, 2, generator=generator) * 40)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 5))
    assert (directions[..., 2] > 0).all()


def test_axes_are_right_down_forward():
    centre, right, below = pixel_directions(
        CAMERA, torch.tensor([[25.0, 22.0], [105.0, 22.0], [25.0, 92.0]])
    )
    torch.testing.assert_close(centre, torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(right, torch.tensor([1.0, 0.0, 1.0]) / math.sqrt(2))
    torch.testing.assert_close(below, torch.tensor([0.0, 1.0, 1.0]) / math.sqrt(2))


def test_a_camera_in_front_of_the_face_shows_up_above():
    # World: +y up, +z out of the face. The camera stands on +z and looks back.
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    pose[2, 3] = 60.0
    x, y = project_points(CAMERA, pose, torch.tensor([3.0, 6.0, 0.0]))
    assert x == 25 + 80 * 3 / 60
    assert y == 22 - 70 * 6 / 60


@given(st.integers(1, 200), st.integers(1, 200))
def test_scaling_keeps_the_ray_through_a_place(width, height):
    place = torch.tensor([0.3, 0.8], dtype=torch.float64)
    small = CAMERA.scaled(width, height)
    assert (small.width, small.height) == (width, height)
    close(
        pixel_directions(small, place * torch.tensor([width, height])),
        pixel_directions(CAMERA, place * torch.tensor([CAMERA.width, CAMERA.height])),
    )


def test_cropping_keeps_rays():
    window = CAMERA.cropped(10.0, 5.5, width=20, height=30)
    assert (window.width, window.height) == (20, 30)
    pixel = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(
        pixel_directions(window, pixel),
        pixel_directions(CAMERA, pixel + torch.tensor([10.0, 5.5])),
    )


@pytest.mark.parametrize("degrees", [20.0, 63.0, 90.0])
def test_the_field_of_view_spans_the_height(degrees):
    camera = Intrinsics.from_field_of_view(30, 50, degrees=degrees)
    top, bottom = pixel_directions(
        camera, torch.tensor([[15.0, 0.0], [15.0, 50.0]], dtype=torch.float64)
    )
    assert math.degrees(math.acos(float(top @ bottom))) == pytest.approx(degrees)
    assert camera.fx == camera.fy


def test_pixel_centers_go_row_by_row():
    expected = [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5]]
    assert torch.equal(pixel_centers(3, 2), torch.tensor(expected))
