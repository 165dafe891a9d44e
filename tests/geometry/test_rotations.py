"""Rotations: the group's laws near identity and elsewhere, inverses, derivatives at zero."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oracles
from sspnerf.geometry.rotations import (
    invert_rigid,
    rigid_transform,
    rotation_from_vector,
    vector_from_rotation,
)

SIZES = [0.0, 1e-12, 1e-7, 1e-4, 0.02, 1.0, 2.5, math.pi - 0.011]


@st.composite
def vectors(draw):
    """Rotation vectors of any direction; tiny angles as likely as large ones."""
    way = torch.tensor([draw(st.floats(-1, 1)) for _ in range(3)], dtype=torch.float64)
    if way.norm() < 1e-3:
        way = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return way / way.norm() * draw(st.sampled_from(SIZES))


@given(vectors(), vectors())
def test_points_turn_as_the_oracle_says(vector, point):
    turned = rotation_from_vector(vector) @ point
    expected = torch.tensor(oracles.rotate(vector.tolist(), point.tolist()), dtype=torch.float64)
    torch.testing.assert_close(turned, expected, rtol=1e-9, atol=1e-12)


@given(vectors())
def test_lengths_and_hands_are_kept(vector):
    rotation = rotation_from_vector(vector)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.tensor(1.0, dtype=torch.float64))


@given(vectors())
def test_the_logarithm_undoes_the_exponential(vector):
    # The angle comes from a sum of matrix entries of size 1: 1e-16 / sin(0.011) is 1e-14.
    torch.testing.assert_close(
        vector_from_rotation(rotation_from_vector(vector)), vector, rtol=1e-7, atol=1e-14
    )


@given(vectors(), st.floats(-1, 1), st.floats(-1, 1))
def test_turns_about_one_axis_add_up(vector, first, second):
    together = rotation_from_vector(first * vector) @ rotation_from_vector(second * vector)
    torch.testing.assert_close(together, rotation_from_vector((first + second) * vector))


@given(vectors())
def test_the_opposite_vector_turns_back(vector):
    torch.testing.assert_close(rotation_from_vector(-vector), rotation_from_vector(vector).T)


@pytest.mark.parametrize("size", SIZES)
def test_float32_turns_are_as_exact_as_float32(generator, size):
    vector = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator)) * size
    exact = rotation_from_vector(vector.double())
    torch.testing.assert_close(rotation_from_vector(vector), exact.float())


@pytest.mark.parametrize("size", [0.0, 1e-9, 0.3])
def test_derivatives_match_finite_differences_near_zero_too(size):
    vector = torch.tensor([[size, -size, size / 2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_from_vector, vector)


def test_the_derivative_at_zero_is_the_cross_product_in_float32():
    vector = torch.zeros(3, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: rotation_from_vector(v) @ torch.tensor([0.0, 0.0, 1.0]), vector
    )
    # (v x z) = (v_y, -v_x, 0).
    expected = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(jacobian, expected)


def test_the_logarithm_has_a_finite_gradient_at_the_identity():
    rotation = torch.eye(3, requires_grad=True)
    vector_from_rotation(rotation).sum().backward()
    assert rotation.grad.isfinite().all()
    torch.testing.assert_close(rotation.grad[2, 1], torch.tensor(0.5))


def test_a_rigid_transform_turns_then_shifts():
    transform = rigid_transform(torch.tensor([0.0, 0.0, torch.pi / 2, 1.0, 2.0, 3.0]))
    moved = transform @ torch.tensor([1.0, 0.0, 0.0, 1.0])
    torch.testing.assert_close(moved, torch.tensor([1.0, 3.0, 3.0, 1.0]))


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_the_inverse_moves_back(generator, batch):
    transform = rigid_transform(torch.randn(*batch, 6, generator=generator, dtype=torch.float64))
    identity = torch.eye(4, dtype=torch.float64).expand(*batch, 4, 4)
    torch.testing.assert_close(invert_rigid(transform) @ transform, identity)
    torch.testing.assert_close(transform @ invert_rigid(transform), identity)


@pytest.mark.parametrize("batch", [(0,), (2, 3)])
def test_each_vector_is_turned_alone(generator, batch):
    vectors = torch.randn(*batch, 3, generator=generator)
    rotations = rotation_from_vector(vectors)
    assert rotations.shape == (*batch, 3, 3)
    for place in range(vectors[..., 0].numel()):
        torch.testing.assert_close(
            rotations.reshape(-1, 3, 3)[place], rotation_from_vector(vectors.reshape(-1, 3)[place])
        )
