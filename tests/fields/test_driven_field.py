"""The field with what drives it: switches, placement, conditions per frame."""

from dataclasses import replace

import pytest
import torch

from small_fields import FEATURE_DIM, SMALL, WINDOW, condition_dim, driven_by, untrained
from sspnerf.fields.deformation_network import pose_vector
from sspnerf.fields.torso import Canonical, pose_difference
from sspnerf.geometry.rotations import rigid_transform

POINTS = 20


@pytest.fixture
def points(generator):
    head = torch.rand(POINTS, 3, generator=generator) * 30 - 20
    torso = head + torch.tensor([1.0, 0.5, -0.5])
    condition = torch.randn(POINTS, condition_dim(SMALL), generator=generator)
    return head, torso, condition, torch.randn(POINTS, 6, generator=generator)


@pytest.fixture
def frames(generator):
    windows = torch.randn(2, 8, WINDOW, FEATURE_DIM, generator=generator)
    poses, torso_poses = rigid_transform(torch.randn(2, 2, 6, generator=generator))
    return windows, torch.rand(2, 52, generator=generator), poses, torso_poses


def test_without_torso_deformation_all_points_are_the_heads(points):
    driven = untrained(replace(SMALL, torso_deformation=False), scale=50)
    head, torso, condition, difference = points
    output, residual, offset = driven(head, torso, driven_by(condition, difference))
    elsewhere = driven(head, torso * 0, driven_by(condition)).output
    # Yet the body does not listen.
    plain = driven.field(head, condition, driven.field.body_weight(head[:, 1]))
    assert torch.equal(residual, torch.zeros(POINTS, 3))
    assert torch.equal(offset, torch.zeros(POINTS, 3))
    for ours, theirs, expected in zip(output, elsewhere, plain, strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(ours, expected)


def test_with_torso_deformation_points_are_asked_where_they_come_from(points):
    driven = untrained(scale=50)
    head, torso, condition, difference = points
    drive = driven_by(condition, difference)
    output, _, offset = driven(head, torso, drive)
    position, weight, _ = driven.torso_deformation(head, torso, drive)
    torch.testing.assert_close(offset, position - head)
    expected = driven.field(position, condition, weight)
    for ours, theirs in zip(output, expected, strict=True):
        # Autocast rounds the deformation's own matrix products to bfloat16.
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)


def test_placing_fits_the_regions_and_the_neck_to_the_person():
    driven = untrained()
    vertices = torch.tensor([[0.0, -9.0, 2.0], [0.0, 0.5, 6.0], [1.0, 7.0, 3.0]])
    driven.place(vertices, Canonical(torch.eye(4), 0.0))
    assert -13 < driven.torso_deformation.neck_height < -9
    assert driven.field.neck_height == driven.torso_deformation.neck_height
    assert driven.field.nose_height == 0.5
    still = untrained(replace(SMALL, torso_deformation=False))
    still.place(vertices, Canonical(torch.eye(4), 0.0))
    assert still.field.neck_height == driven.field.neck_height


def test_each_frame_is_driven_by_its_own_speech_and_face(frames):
    driven = untrained()
    windows, blendshapes, poses, torso_poses = frames
    speech, face = driven.speech_encoder(windows), driven.upper_face_encoder(blendshapes)
    drive = driven.drive(
        speech, blendshapes, poses=poses, torso_poses=torso_poses, time=torch.rand(2)
    )
    torch.testing.assert_close(drive.condition, torch.cat((speech, face), dim=-1))
    torch.testing.assert_close(drive.difference, pose_difference(poses, torso_poses))
    assert drive.condition.shape == (2, condition_dim(SMALL))


def test_each_frame_is_driven_by_its_own_pose_and_time(frames):
    driven = untrained()
    windows, blendshapes, poses, torso_poses = frames
    speech, time = driven.speech_encoder(windows), torch.tensor([0.25, 0.75])
    drive = driven.drive(speech, blendshapes, poses=poses, torso_poses=torso_poses, time=time)
    torch.testing.assert_close(drive.pose, pose_vector(poses))
    assert torch.equal(drive.time, time)
    of_rays = drive.of_points(torch.tensor([1, 0, 1]), 2)
    assert of_rays.row.tolist() == [1, 1, 0, 0, 1, 1]
    assert torch.equal(of_rays.time, time)
    of_rays = of_rays.per_point()
    assert of_rays.time.tolist() == [0.75, 0.75, 0.25, 0.25, 0.75, 0.75]
    assert torch.equal(of_rays.pose, drive.pose[[1, 1, 0, 0, 1, 1]])


def test_poses_learn_nothing_through_the_pose_difference(frames):
    windows, blendshapes, poses, torso_poses = frames
    driven = untrained()
    drive = driven.drive(
        driven.speech_encoder(windows),
        blendshapes,
        poses=poses.requires_grad_(),
        torso_poses=torso_poses,
        time=torch.zeros(2),
    )
    assert drive.condition.requires_grad
    assert not drive.difference.requires_grad
