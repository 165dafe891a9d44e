"""Rays by hand: both bones, slots, selections."""

import torch

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.geometry.rays import cast_rays, points_along
from sspnerf.geometry.rotations import rigid_transform

CAMERA = Intrinsics(fx=10.0, fy=10.0, cx=5.0, cy=5.0, width=10, height=10)
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


def poses(*origins):
    stacked = FACING.repeat(len(origins), 1, 1)
    stacked[:, :3, 3] = torch.tensor(origins)
    return stacked


def test_rays_by_hand():
    rays = cast_rays(
        CAMERA,
        torch.tensor([[5.0, 5.0], [15.0, 5.0], [5.0, 15.0]]),
        poses=poses((0.0, 0.0, 60.0), (1.0, 2.0, 50.0)),
        torso_poses=poses((0.0, 0.0, 59.0), (3.0, 2.0, 50.0)),
        slot=torch.tensor([0, 1, 1]),
    )
    half = 0.5**0.5
    torch.testing.assert_close(
        rays.origin, torch.tensor([[0.0, 0.0, 60.0], [1.0, 2.0, 50.0], [1.0, 2.0, 50.0]])
    )
    torch.testing.assert_close(
        rays.torso_origin, torch.tensor([[0.0, 0.0, 59.0], [3.0, 2.0, 50.0], [3.0, 2.0, 50.0]])
    )
    directions = torch.tensor([[0.0, 0.0, -1.0], [half, 0.0, -half], [0.0, -half, -half]])
    torch.testing.assert_close(rays.direction, directions)
    torch.testing.assert_close(rays.torso_direction, directions)
    assert rays.slot.tolist() == [0, 1, 1]
    assert len(rays) == 3


def test_each_bone_turns_its_own_rays():
    turn = rigid_transform(torch.tensor([[0.0, torch.pi / 2, 0.0, 0.0, 0.0, 0.0]]))
    rays = cast_rays(
        CAMERA,
        torch.tensor([[5.0, 5.0]]),
        poses=turn @ FACING,
        torso_poses=FACING[None],
        slot=torch.tensor([0]),
    )
    torch.testing.assert_close(rays.direction, torch.tensor([[-1.0, 0.0, 0.0]]))
    torch.testing.assert_close(rays.torso_direction, torch.tensor([[0.0, 0.0, -1.0]]))


def test_rays_are_differentiable_in_the_poses(generator):
    vector = torch.zeros(1, 6, requires_grad=True)
    rays = cast_rays(
        CAMERA,
        torch.rand(4, 2, generator=generator) * 10,
        poses=rigid_transform(vector) @ FACING,
        torso_poses=FACING[None],
        slot=torch.zeros(4, dtype=torch.long),
    )
    (rays.origin.sum() + (rays.direction * torch.tensor([1.0, 2.0, 3.0])).sum()).backward()
    assert (vector.grad != 0).all()


def test_a_selection_keeps_what_belongs_together(generator):
    rays = cast_rays(
        CAMERA,
        torch.rand(6, 2, generator=generator) * 10,
        poses=poses((0.0, 0.0, 60.0), (1.0, 2.0, 50.0)),
        torso_poses=poses((0.0, 1.0, 60.0), (1.0, 3.0, 50.0)),
        slot=torch.tensor([0, 1, 0, 1, 0, 1]),
    )
    some = rays.select(torch.tensor([5, 0]))
    for name in ("origin", "direction", "torso_origin", "torso_direction", "slot"):
        assert torch.equal(getattr(some, name), getattr(rays, name)[[5, 0]])
    assert rays.select(slice(2, 4)).slot.tolist() == [0, 1]


def test_walking_along_rays():
    found = points_along(
        torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 9.0]]),
        torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]),
        torch.tensor([[0.0, 2.0], [3.0, 4.0]]),
    )
    expected = [[[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]], [[0.0, 0.0, 6.0], [0.0, 0.0, 5.0]]]
    assert torch.equal(found, torch.tensor(expected))
