"""What the networks of a field on plane grids read at each point, side by side in one matrix.

    encoded   what the grids store there
    heard     the condition, as far as it reaches the point
    surface   where the point lies against the rest surface, and near which region

The condition reaches a point by its height (speech below the eyes, the upper face's blendshapes
above the nose), not at all in the torso, and through a learned gate.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sspnerf.ops import backend

SURFACE_FEATURES = 3


class Reach(NamedTuple):
    """Up to where the condition reaches."""

    speech_dim: int
    """Numbers of the condition that are speech; the others are the upper face's."""
    below: float
    """Speech reaches what lies below this height, cm."""
    above: float
    """The upper face's blendshapes reach what lies above this height, cm."""
    softness: float
    """Over this length either fades, cm."""


class RestSurface(NamedTuple):
    """The rest surface, as the field is told of it."""

    height: Tensor
    """z at (y, x), cm. Shape (nodes, nodes); the first and last node lie at the border."""
    regions: Tensor
    """Share of each class at (y, x). Shape (cells, cells, classes); the cells fill the square."""
    extent: float
    """Half the side of the square, cm."""


def join_inputs(
    encoded: Float[Tensor, "points columns"],
    gate: Float[Tensor, "points condition_dim"],
    condition: Float[Tensor, "frames condition_dim"],
    *,
    row: Int[Tensor, " points"],
    torso_weight: Float[Tensor, " points"],
    position: Float[Tensor, "points 3"],
    reach: Reach,
    surface: RestSurface | None,
) -> Float[Tensor, "points inputs"]:
    """Put together what the networks read.

    Differentiable in encoded, gate, condition and torso weight. The position is taken as given:
    where samples lie is not to be learned through these hints.

    Args:
        encoded: What the grids store. float32 or bfloat16. Shape (points, columns).
        gate: How far each point listens, before the sigmoid; of the same type.
            Shape (points, condition_dim).
        condition: What drives each frame. Shape (frames, condition_dim).
        row: Which frame each point is of. Shape (points,).
        torso_weight: How far each point belongs to the torso, [0, 1]. Shape (points,).
        position: Canonical positions, cm. Shape (points, 3).
        reach: Up to where the condition reaches.
        surface: The rest surface; None: the networks are not told of it.

    Returns:
        encoded, heard, surface features, side by side, in the type of `encoded`.
        Shape (points, columns + condition_dim + 3 + classes), or without the last two.

    Raises:
        ValueError: If gate and condition are not of one width, or speech is wider than that.
    """
    if gate.shape[1] != condition.shape[1] or reach.speech_dim > gate.shape[1]:
        raise ValueError(
            f"the gate has {gate.shape[1]} parts for a condition of {condition.shape[1]} with "
            f"{reach.speech_dim} of speech; expected the same number, and speech among them"
        )
    position = position.detach()
    chosen = backend.choose(encoded.device).name
    if chosen == "numba" and encoded.dtype != torch.float64:
        joined: Tensor = _KernelJoin.apply(  # type: ignore[no-untyped-call]
            encoded, gate, condition, row, torso_weight, position, reach, surface, chosen
        )
        return joined
    return reference_join_inputs(
        encoded, gate, condition, row=row, torso_weight=torso_weight, position=position,
        reach=reach, surface=surface,
    )  # fmt: skip


def reference_join_inputs(
    encoded: Float[Tensor, "points columns"],
    gate: Float[Tensor, "points condition_dim"],
    condition: Float[Tensor, "frames condition_dim"],
    *,
    row: Int[Tensor, " points"],
    torso_weight: Float[Tensor, " points"],
    position: Float[Tensor, "points 3"],
    reach: Reach,
    surface: RestSurface | None,
) -> Float[Tensor, "points inputs"]:
    """Do the same as `join_inputs` in PyTorch: the specification."""
    weights = reach_weights(position[:, 1], reach) * (1 - torso_weight)[:, None]
    parts = [reach.speech_dim, condition.shape[1] - reach.speech_dim]
    spread = weights.repeat_interleave(torch.tensor(parts, device=row.device), dim=1)
    heard = condition[row] * spread * torch.sigmoid(gate.to(condition.dtype))
    joined = [encoded, heard.to(encoded.dtype)]
    if surface is not None:
        joined.append(surface_features(position, surface).to(encoded.dtype))
    return torch.cat(joined, dim=1)


def reach_weights(height: Float[Tensor, " points"], reach: Reach) -> Float[Tensor, "points 2"]:
    """Say how far speech and the upper face's blendshapes reach points, by their height, cm.

    Without this the field learns a short clip by heart: blinks and brows single out each training
    frame, and the mouth listens to them instead of to the sound.

    Returns:
        In [0, 1]: speech, upper face. Shape (points, 2).
    """
    speech = torch.sigmoid((reach.below - height) / reach.softness)
    upper = torch.sigmoid((height - reach.above) / reach.softness)
    return torch.stack((speech, upper), dim=-1)


def surface_features(
    position: Float[Tensor, "points 3"], surface: RestSurface
) -> Float[Tensor, "points features"]:
    """Say where points lie against the rest surface, on three scales, and near what region.

    The region is the share of each class among the training frames' labels at the same x and y of
    the rest surface; beyond its border there is none.
    """
    grid = (position[:, :2] / surface.extent).reshape(1, -1, 1, 2)
    height = torch.nn.functional.grid_sample(
        surface.height[None, None], grid, padding_mode="border", align_corners=True
    )
    above = position[:, 2] - height.reshape(-1)
    near = torch.stack((above / 4, torch.tanh(above), torch.exp(-above.square())), dim=-1)
    classes = surface.regions.permute(2, 0, 1)[None]
    share = torch.nn.functional.grid_sample(classes, grid, align_corners=False)
    return torch.cat((near, share[0, :, :, 0].T), dim=-1)


class _KernelJoin(torch.autograd.Function):
    """The compiled kernels with their hand-written derivatives."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's context
        encoded: Tensor,
        gate: Tensor,
        condition: Tensor,
        row: Tensor,
        torso_weight: Tensor,
        position: Tensor,
        reach: Reach,
        surface: RestSurface | None,
        chosen: backend.BackendName,
    ) -> Tensor:
        kernels = backend.kernels(chosen, "field_inputs")
        encoded, gate = encoded.contiguous(), gate.to(encoded.dtype).contiguous()
        condition, row = condition.float().contiguous(), row.contiguous()
        torso_weight, position = torso_weight.float().contiguous(), position.float().contiguous()
        first = encoded.shape[1] + gate.shape[1]
        told = 0 if surface is None else SURFACE_FEATURES + surface.regions.shape[2]
        seen = encoded.new_empty(len(encoded), first + told)
        kernels.join_forward(encoded, gate, condition, row, torso_weight, position, *reach, seen)
        if surface is not None:
            kernels.surface_forward(position, *surface, first, seen)
        ctx.save_for_backward(gate, condition, row, torso_weight, position)
        ctx.kernels, ctx.reach, ctx.columns = kernels, reach, encoded.shape[1]
        return seen

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ANN401 - autograd's signature
        gate, condition, row, torso_weight, position = ctx.saved_tensors
        grad_seen = grads[0].contiguous()
        grad_gate, grad_weight = torch.empty_like(gate), torch.empty_like(torso_weight)
        of_points = condition.new_empty(len(row), condition.shape[1])
        ctx.kernels.join_backward(
            gate, condition, row, torso_weight, position, *ctx.reach, grad_seen, ctx.columns,
            grad_gate, of_points, grad_weight,
        )  # fmt: skip
        # One matrix product instead of adding point by point.
        frames = torch.arange(len(condition), device=row.device)[:, None] == row
        grad_condition = frames.to(of_points.dtype) @ of_points
        grad_encoded = grad_seen[:, : ctx.columns]
        return grad_encoded, grad_gate, grad_condition, None, grad_weight, None, None, None, None
