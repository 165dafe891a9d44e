"""Head and torso as two rigid bones: where a point lies that belongs to both a little."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sspnerf.ops import backend

# What the network tells of each point: one logit, and perhaps three axes times this many motions.
MOTIONS = 6


class Blended(NamedTuple):
    """Where points come from."""

    position: Tensor
    """Canonical positions, cm. Shape (points, 3)."""
    weight: Tensor
    """How far each point belongs to the torso, [0, 1]. Shape (points,)."""
    residual: Tensor
    """What is added to the bones, cm. Shape (points, 3)."""


def blend_bones(
    told: Float[Tensor, "points told"],
    head: Float[Tensor, "points 3"],
    torso: Float[Tensor, "points 3"],
    *,
    difference: Float[Tensor, "frames 6"],
    row: Int[Tensor, " points"],
    neck_height: float,
    softness: float,
) -> Blended:
    """Blend the bones by a learned weight, and add what is linear in their difference.

    weight = sigmoid(told_0 + (neck_height - y_torso) / softness)
    residual = weight * told_[1:] @ difference

    Differentiable in told, head and torso; the difference is taken as given.

    Args:
        told: What a network says of each point: 1 number, or 1 + 3 * 6. Shape (points, told).
        head: The points if they belong to the head, cm. Shape (points, 3).
        torso: The points if they belong to the torso, cm. Shape (points, 3).
        difference: How the head stands against the torso. Shape (frames, 6).
        row: Frame of each point. Shape (points,).
        neck_height: Where the neck bends, y, cm.
        softness: Head and body fade into each other over this length, cm.

    Raises:
        ValueError: If a point is told neither 1 nor 19 numbers.
    """
    if told.shape[1] not in (1, 1 + 3 * MOTIONS):
        raise ValueError(f"told has {told.shape[1]} columns; expected 1 or {1 + 3 * MOTIONS}")
    difference = difference.detach()
    chosen = backend.choose(told.device).name
    if chosen == "numba" and head.dtype == torch.float32:
        return Blended(
            *_KernelBlend.apply(  # type: ignore[no-untyped-call]
                told, head, torso, difference, row, neck_height, softness, chosen
            )
        )
    return reference_blend_bones(
        told, head, torso, difference=difference, row=row, neck_height=neck_height,
        softness=softness,
    )  # fmt: skip


def reference_blend_bones(
    told: Float[Tensor, "points told"],
    head: Float[Tensor, "points 3"],
    torso: Float[Tensor, "points 3"],
    *,
    difference: Float[Tensor, "frames 6"],
    row: Int[Tensor, " points"],
    neck_height: float,
    softness: float,
) -> Blended:
    """Do the same as `blend_bones` in PyTorch: the specification."""
    told = told.to(head.dtype)
    weight = torch.sigmoid(told[:, 0] + (neck_height - torso[:, 1]) / softness)
    blended = torch.lerp(head, torso, weight[:, None])
    if told.shape[1] == 1:
        return Blended(blended, weight, torch.zeros_like(blended))
    per_motion = told[:, 1:].view(-1, 3, MOTIONS)
    residual = weight[:, None] * (per_motion * difference[row][:, None]).sum(dim=-1)
    return Blended(blended + residual, weight, residual)


class _KernelBlend(torch.autograd.Function):
    """The compiled kernels with their hand-written derivatives."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's context
        told: Tensor,
        head: Tensor,
        torso: Tensor,
        difference: Tensor,
        row: Tensor,
        neck_height: float,
        softness: float,
        chosen: backend.BackendName,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.told_type, ctx.softness = told.dtype, softness
        ctx.kernels = backend.kernels(chosen, "bones")
        told, head, torso = told.float().contiguous(), head.contiguous(), torso.contiguous()
        difference, row = difference.float().contiguous(), row.contiguous()
        position, residual = torch.empty_like(head), torch.empty_like(head)
        weight = head.new_empty(len(head))
        ctx.kernels.blend_forward(
            told, head, torso, difference, row, neck_height, softness, position, weight, residual
        )
        ctx.save_for_backward(told, head, torso, difference, row, weight)
        return position, weight, residual

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ANN401 - autograd's signature
        told, head, torso, difference, row, weight = ctx.saved_tensors
        grad_told, grad_head = torch.empty_like(told), torch.empty_like(head)
        grad_torso = torch.empty_like(torso)
        ctx.kernels.blend_backward(
            told, head, torso, difference, row, weight, ctx.softness,
            *(grad.contiguous() for grad in grads), grad_told, grad_head, grad_torso,
        )  # fmt: skip
        return grad_told.to(ctx.told_type), grad_head, grad_torso, None, None, None, None, None
