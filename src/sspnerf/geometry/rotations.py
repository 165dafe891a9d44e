"""Rotations as matrices and as rotation vectors (axis times angle, radians)."""

import torch
from jaxtyping import Float
from torch import Tensor


def rotation_from_vector(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Turn rotation vectors into matrices (the exponential map).

    Differentiable everywhere, at zero too.

    Args:
        vector: Axis times angle, radians. Shape (*batch, 3).

    Returns:
        Rotation matrices. Shape (*batch, 3, 3).

    Example:
        >>> quarter = rotation_from_vector(torch.tensor([0.0, 0.0, torch.pi / 2]))
        >>> quarter.round(decimals=4) + 0.0  # turns -0 into 0
        tensor([[ 0., -1.,  0.],
                [ 1.,  0.,  0.],
                [ 0.,  0.,  1.]])

    Source: Rodrigues' formula, R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2.
    """
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1)
    cross = cross.reshape(*vector.shape, 3)
    # torch.sinc(u) = sin(pi u) / (pi u) has a value and a derivative at zero; sqrt does not.
    square = (vector * vector).sum(dim=-1)
    angle = torch.sqrt(square.clamp(min=1e-16))
    first = torch.sinc(angle / torch.pi)[..., None, None]
    half = torch.sinc(angle / (2 * torch.pi))[..., None, None]
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    rotation: Tensor = identity + first * cross + 0.5 * half * half * (cross @ cross)
    return rotation


def vector_from_rotation(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Turn rotation matrices into rotation vectors (the logarithm).

    For angles below pi - 0.01; heads do not turn further.

    Args:
        rotation: Rotation matrices. Shape (*batch, 3, 3).

    Returns:
        Axis times angle, radians. Shape (*batch, 3).

    Example:
        >>> vector_from_rotation(torch.eye(3))
        tensor([0., 0., 0.])
    """
    twice_sine = torch.stack(
        (
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ),
        dim=-1,
    )
    cosine = (rotation.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    sine = 0.5 * torch.linalg.vector_norm(twice_sine, dim=-1)
    angle = torch.atan2(sine, cosine)
    return twice_sine * (0.5 / torch.sinc(angle / torch.pi).clamp(min=1e-6))[..., None]


def rigid_transform(vector: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """Make rigid transforms from a rotation vector and a shift each.

    Args:
        vector: Rotation vector (radians), then shift (scene units). Shape (*batch, 6).

    Returns:
        Transforms. Shape (*batch, 4, 4).

    Example:
        >>> rigid_transform(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]))[:, 3]
        tensor([1., 2., 3., 1.])
    """
    top = torch.cat((rotation_from_vector(vector[..., :3]), vector[..., 3:, None]), dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=vector.dtype, device=vector.device)
    return torch.cat((top, bottom.expand(*vector.shape[:-1], 1, 4)), dim=-2)


def invert_rigid(transform: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Invert rigid transforms by transposing their rotation.

    Example:
        >>> shift = rigid_transform(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]))
        >>> invert_rigid(shift)[:, 3]
        tensor([-1., -2., -3.,  1.])
    """
    rotation = transform[..., :3, :3].transpose(-1, -2)
    shift = -(rotation @ transform[..., :3, 3:])
    return torch.cat((torch.cat((rotation, shift), dim=-1), transform[..., 3:, :]), dim=-2)
