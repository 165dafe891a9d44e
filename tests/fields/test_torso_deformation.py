"""Two bones and a residual (fields/torso.py): pure blend at first, exact far from the neck."""

import pytest
import torch

from small_fields import driven_by
from sspnerf.config import DeformationConfig
from sspnerf.fields.torso import (
    NECK_SOFTNESS_CM,
    ROTATION_SCALE,
    SHIFT_SCALE,
    TorsoDeformation,
    pose_difference,
)
from sspnerf.geometry.rotations import rigid_transform

NECK = -11.0


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Values by hand: without the rounding of bfloat16."""
    monkeypatch.setattr("sspnerf.fields.torso.field_dtype", lambda _: torch.float32)


@pytest.fixture
def deformation():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = TorsoDeformation(DeformationConfig())
    made.neck_height.fill_(NECK)
    return made


def points(generator, heights):
    """The same points seen from both bones, 1 cm apart in x, and some pose difference."""
    torso = torch.randn(len(heights), 3, generator=generator)
    torso[:, 1] = torch.tensor(heights)
    return (
        torso + torch.tensor([1.0, 0.0, 0.0]),
        torso,
        driven_by(torch.zeros(len(heights), 1), torch.randn(len(heights), 6, generator=generator)),
    )


def test_poses_that_agree_differ_by_nothing(generator):
    poses = rigid_transform(torch.randn(4, 6, generator=generator))
    torch.testing.assert_close(pose_difference(poses, poses), torch.zeros(4, 6), rtol=0, atol=1e-5)


def test_a_pose_difference_by_hand(generator):
    head = rigid_transform(torch.randn(1, 6, generator=generator))
    # Head space seen from the torso: turned by 0.1 about z, shifted by 2 cm along y.
    torso = rigid_transform(torch.tensor([[0.0, 0.0, 0.1, 0.0, 2.0, 0.0]])) @ head
    expected = torch.tensor([[0.0, 0.0, 0.1 * ROTATION_SCALE, 0.0, 2.0 * SHIFT_SCALE, 0.0]])
    torch.testing.assert_close(pose_difference(head, torso), expected, rtol=1e-4, atol=1e-5)


def test_where_the_camera_stands_does_not_matter(generator):
    head, torso, camera = rigid_transform(torch.randn(3, 1, 6, generator=generator))
    torch.testing.assert_close(
        pose_difference(head @ camera, torso @ camera), pose_difference(head, torso),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_the_deformation_starts_as_a_pure_blend(deformation, generator):
    heights = [NECK - 3, NECK - 1, NECK, NECK + 0.5, NECK + 4]
    head, torso, drive = points(generator, heights)
    position, weight, residual = deformation(head, torso, drive)
    assert torch.equal(residual, torch.zeros(5, 3))
    expected = [1 / (1 + 2.718281828 ** ((h - NECK) / NECK_SOFTNESS_CM)) for h in heights]
    torch.testing.assert_close(weight, torch.tensor(expected))
    torch.testing.assert_close(position[:, 0], torso[:, 0] + 1 - weight)
    torch.testing.assert_close(position[:, 1:], torso[:, 1:])
    torch.testing.assert_close(weight, deformation.initial_weight(torso[:, 1]))


def test_far_from_the_neck_each_bone_has_its_points_exactly(deformation, generator):
    head, torso, drive = points(generator, [NECK + 40, NECK - 40])
    position, weight, _ = deformation(head, torso, drive)
    assert torch.equal(position, torch.stack((head[0], torso[1])))
    torch.testing.assert_close(weight, torch.tensor([0.0, 1.0]), rtol=0, atol=1e-12)


def test_what_is_learned_moves_the_torso_and_not_the_head(deformation, generator):
    with torch.no_grad():
        per_motion = torch.zeros(3, 6)
        per_motion[:, 2] = torch.tensor([0.1, 0.2, 0.3])
        deformation.out.bias[1:] = per_motion.flatten()
    head, torso, drive = points(generator, [NECK + 40, NECK, NECK - 40])
    position, weight, residual = deformation(head, torso, drive)
    turned = torch.tensor([[0.0], [0.5], [1.0]]) * drive.difference[:, 2:3]
    torch.testing.assert_close(residual, turned * torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(position, torch.lerp(head, torso, weight[:, None]) + residual)


def test_where_head_and_torso_agree_nothing_is_moved(deformation, generator):
    with torch.no_grad():
        deformation.out.weight.normal_(generator=generator)
    head, torso, drive = points(generator, [NECK - 4, NECK, NECK + 4])
    still = drive._replace(difference=torch.zeros(3, 6))
    assert deformation(head, torso, drive).residual.abs().max() > 0.01
    assert torch.equal(deformation(head, torso, still).residual, torch.zeros(3, 3))


def test_a_learned_bias_moves_the_neck(deformation, generator):
    with torch.no_grad():
        deformation.out.bias[0] = 2.0 / NECK_SOFTNESS_CM
    _, weight, _ = deformation(*points(generator, [NECK + 2.0]))
    torch.testing.assert_close(weight, torch.tensor([0.5]))


def test_every_parameter_receives_a_gradient_after_one_step(deformation, generator):
    head, torso, drive = points(generator, [NECK - 2, NECK - 1, NECK, NECK + 1])
    optimiser = torch.optim.SGD(deformation.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        position, _, _ = deformation(head, torso, drive)
        (position - head.flip(0)).square().sum().backward()
        optimiser.step()
    for name, parameter in deformation.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
