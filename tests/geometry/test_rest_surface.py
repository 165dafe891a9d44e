"""The rest surface of a spherical cap, and where rays meet it, against a brute-force march."""

import math

import numpy as np
import pytest
import torch

import oracles
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.geometry.rest_surface import RECESSION, intersect_surface, rest_surface, surface_height

EXTENT, NODES = 24.0, 129
RADIUS, RIM = 12.0, 6.0


def cap():
    """The front of a sphere of 12 cm around the origin, as far as 6 cm from its axis."""
    ring = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x = np.concatenate([[0.0], *(r * np.cos(ring) for r in np.linspace(1, RIM, 6))])
    y = np.concatenate([[0.0], *(r * np.sin(ring) for r in np.linspace(1, RIM, 6))])
    z = np.sqrt(RADIUS**2 - x**2 - y**2)
    triangles = np.array([[0, 1, 2]], dtype=np.int32)  # only the corners matter to the surface
    return FaceMesh(vertices=np.stack((x, y, z), 1).astype(np.float32), triangles=triangles)


@pytest.fixture(scope="module")
def surface():
    return rest_surface(cap(), extent=EXTENT, nodes=NODES)


def test_the_face_is_reproduced(surface):
    axis = np.linspace(-EXTENT, EXTENT, NODES)
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x, y) < RIM - 1
    sphere = np.sqrt(RADIUS**2 - x[inside] ** 2 - y[inside] ** 2)
    # Flat triangles of 1.5 cm cut off 0.03 cm of the sphere, smoothing by 0.5 cm another 0.03.
    assert np.abs(surface[inside] - sphere).max() < 0.1
    assert surface.dtype == np.float32


@pytest.mark.parametrize("angle", np.linspace(0, 2 * np.pi, 8, endpoint=False))
def test_beyond_the_rim_the_surface_recedes_steadily(surface, angle):
    distance = torch.linspace(RIM + 1, EXTENT - 1, 30)
    height = surface_height(
        torch.from_numpy(surface),
        distance * math.cos(angle),
        distance * math.sin(angle),
        extent=EXTENT,
    )
    fall = -height.diff() / distance.diff()
    assert (fall > 0).all()
    # Far from the rim smoothing is over: the same fall everywhere, in cm per cm.
    torch.testing.assert_close(fall[10:-3], torch.full((16,), RECESSION), rtol=0.1, atol=0)


def test_rows_are_y_and_columns_are_x():
    corners = np.array([[-6, -6, 0], [6, -6, 0], [-6, 6, 4], [6, 6, 4]], dtype=np.float32)
    triangles = np.array([[0, 1, 2], [1, 3, 2]], dtype=np.int32)
    ramp = rest_surface(FaceMesh(vertices=corners, triangles=triangles), extent=8.0, nodes=65)
    height = surface_height(
        torch.from_numpy(ramp), torch.tensor([0.0, 0.0, 2.0]), torch.tensor([-3.0, 3.0, 0.0]),
        extent=8.0,
    )  # fmt: skip
    torch.testing.assert_close(height, torch.tensor([1.0, 3.0, 2.0]), rtol=0, atol=0.05)


def test_heights_are_read_between_nodes_and_held_beyond_the_border():
    surface = torch.tensor([[0.0, 1.0], [10.0, 11.0]])
    x = torch.tensor([[-2.0, 2.0], [0.0, 99.0]])
    y = torch.tensor([[-2.0, 2.0], [0.0, -99.0]])
    expected = torch.tensor([[0.0, 11.0], [5.5, 1.0]])
    torch.testing.assert_close(surface_height(surface, x, y, extent=2.0), expected)


def test_no_rays_meet_nothing():
    none = torch.zeros(0, 3)
    assert intersect_surface(torch.zeros(5, 5), none, none, extent=1.0).shape == (0,)


def test_a_flat_surface_is_met_exactly():
    origin = torch.tensor([[0.0, 0.0, 60.0], [1.0, -2.0, 50.0]])
    direction = torch.nn.functional.normalize(torch.tensor([[0.0, 0.0, -1.0], [0.3, 0.2, -1.0]]))
    found = intersect_surface(torch.full((9, 9), 3.0), origin, direction, extent=30.0)
    torch.testing.assert_close(found, (3.0 - origin[:, 2]) / direction[:, 2])


def test_a_smooth_surface_is_met_as_a_march_meets_it(surface, generator):
    shape = torch.from_numpy(surface)
    origin = torch.tensor([2.0, -3.0, 60.0]).expand(40, 3)
    target = (torch.rand(40, 3, generator=generator) - 0.5) * torch.tensor([30.0, 30.0, 0.0])
    direction = torch.nn.functional.normalize(target - origin, dim=-1)
    found = intersect_surface(shape, origin, direction, extent=EXTENT)

    def height_at(x, y):
        return float(surface_height(shape, torch.tensor(x), torch.tensor(y), extent=EXTENT))

    for i in range(40):
        start = 47.0  # nothing of the surface is nearer
        walked = oracles.march_to_surface(
            height_at,
            (origin[i] + start * direction[i]).tolist(),
            direction[i].tolist(),
            far=20.0,
            step=0.05,
        )
        # The fixed point ends 0.05 cm off at worst here, the march's step is 0.05 cm; a band is
        # some cm wide.
        assert abs(found[i] - start - walked) < 0.15


def test_a_ray_along_the_face_gets_a_finite_distance():
    origin = torch.tensor([[0.0, 0.0, 5.0], [0.0, 0.0, 5.0]])
    direction = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    found = intersect_surface(torch.zeros(9, 9), origin, direction, extent=10.0)
    torch.testing.assert_close(found, torch.tensor([25.0, 25.0]))
