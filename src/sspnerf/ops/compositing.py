"""Emission-absorption compositing along rays.

Shared convention, used by every function below:

    t_edges        distances of the sample edges from the ray origin, increasing
    density        absorption per scene unit inside each sample (sigma), >= 0
    opacity        chance that light is absorbed inside one sample (alpha), in [0, 1]
    transmittance  chance that light reaches the front edge of a sample (T), in [0, 1]
    weights        transmittance * opacity; along one ray they sum to 1 - T(far)

`N` samples have `N + 1` edges. Samples are the last axis; any axes may stand before. Always float32
or wider: sums of many small weights do not survive bfloat16.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.ops import backend
from sspnerf.ops.gradients import scale_gradient

# Weights of less in sum than this show nothing: the distance of nothing is 0, not 0 / 0.
LEAST_ACCUMULATION = 1e-6


class Composite(NamedTuple):
    """What arrives at the camera along each ray."""

    values: Tensor
    """Sums of weights * values. Shape (*rays, channels)."""
    transmittance: Tensor
    """What passes the last sample, [0, 1]. Shape (*rays)."""
    weights: Tensor
    """Share of each sample, [0, 1]; carries no gradient. Shape (*rays, samples)."""


class PortraitComposite(NamedTuple):
    """What arrives at the camera along each ray of a portrait."""

    color: Tensor
    """Sums of weights * color. Shape (rays, 3)."""
    logits: Tensor
    """Sums of weights * logits. Shape (rays, classes)."""
    transmittance: Tensor
    """What passes the last sample, [0, 1]. Shape (rays,)."""
    distance: Tensor
    """Mean distance of what is seen, 0 if nothing is; carries no gradient. Shape (rays,)."""
    weights: Tensor
    """Share of each sample, [0, 1]; carries no gradient. Shape (rays, samples)."""


def ray_weights(
    density: Float[Tensor, "*rays samples"], t_edges: Float[Tensor, "*rays samples+1"]
) -> Float[Tensor, "*rays samples"]:
    r"""Weigh each sample by the light that starts in it and reaches the camera.

    .. math:: w_i = T_i (1 - e^{-\sigma_i \delta_i}), \quad T_i = e^{-\sum_{j<i} \sigma_j \delta_j}

    Differentiable in both arguments.

    Args:
        density: Absorption per scene unit, >= 0. Shape (*rays, samples).
        t_edges: Sample edges in scene units, non-decreasing. Shape (*rays, samples + 1).

    Returns:
        Weights in [0, 1], shape (*rays, samples), summing to at most 1 along each ray.

    Raises:
        ValueError: If the edges are not one more than the samples, or not of as many rays.

    Example:
        >>> ray_weights(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]))
        tensor([0.0000, 0.8647])

    Source: Mildenhall et al. 2020 (arXiv:2003.08934), eq. 3.
    """
    _check_edges(density, t_edges)
    optical_depth = density * t_edges.diff(dim=-1)
    # Shift first, then sum: subtracting from an inclusive sum loses haze in front of a wall.
    before = torch.nn.functional.pad(optical_depth[..., :-1], (1, 0))
    return torch.exp(-before.cumsum(dim=-1)) * -torch.expm1(-optical_depth)


def composite(
    density: Float[Tensor, "*rays samples"],
    t_edges: Float[Tensor, "*rays samples+1"],
    values: Float[Tensor, "*rays samples channels"],
) -> Composite:
    """Sum what the samples of each ray emit, weighted by `ray_weights`.

    Differentiable in density and values. The edges are taken as given.

    Args:
        density: Absorption per scene unit, >= 0. Shape (*rays, samples).
        t_edges: Sample edges in scene units, non-decreasing. Shape (*rays, samples + 1).
        values: Anything to be summed: colors, semantic logits. Shape (*rays, samples, channels).

    Returns:
        The sums, the transmittance behind the last sample, and the weights.

    Raises:
        ValueError: If shapes do not fit together.

    Example:
        >>> red_wall = torch.tensor([[1.0, 0.0, 0.0]])
        >>> composite(torch.tensor([99.0]), torch.tensor([1.0, 2.0]), red_wall).values
        tensor([1., 0., 0.])

    Source: Mildenhall et al. 2020 (arXiv:2003.08934), eq. 3; logits summed with the same weights:
        Zhi et al. 2021 (arXiv:2103.15875), eq. 5.
    """
    _check_edges(density, t_edges)
    if values.shape[:-1] != density.shape:
        raise ValueError(
            f"values have shape {tuple(values.shape)}; expected {(*density.shape, 'channels')}"
        )
    t_delta = t_edges.detach().diff(dim=-1)
    chosen = backend.choose(density.device).name
    if chosen != "reference" and density.dtype == torch.float32:
        rays, (samples, channels) = density.shape[:-1], values.shape[-2:]
        # Counted, not -1: that is ambiguous where there are no rays.
        count = rays.numel()
        flat = _KernelComposite.apply(  # type: ignore[no-untyped-call]
            density.reshape(count, samples),
            t_delta.reshape(count, samples),
            values.reshape(count, samples, channels),
            backend.kernels(chosen, "compositing"),
        )
        summed, transmittance, weights = flat
        return Composite(
            summed.reshape(*rays, channels),
            transmittance.reshape(rays),
            weights.reshape(density.shape),
        )
    return reference_composite(density, t_edges.detach(), values)


def reference_composite(
    density: Float[Tensor, "*rays samples"],
    t_edges: Float[Tensor, "*rays samples+1"],
    values: Float[Tensor, "*rays samples channels"],
) -> Composite:
    """Do the same as `composite` in PyTorch: the specification."""
    weights = ray_weights(density, t_edges)
    transmittance = torch.exp(-(density * t_edges.diff(dim=-1)).sum(dim=-1))
    return Composite((weights[..., None] * values).sum(dim=-2), transmittance, weights.detach())


def composite_portrait(
    density: Float[Tensor, "rays samples"],
    t_edges: Float[Tensor, "rays samples+1"],
    color: Float[Tensor, "rays samples channels"],
    logits: Float[Tensor, "rays samples classes"],
    *,
    semantic_share: float,
) -> PortraitComposite:
    """Composite color, logits and distance in one walk along each ray.

    Differentiable in density, color and logits; the edges are taken as given. The gradient of the
    density is that of color and transmittance, and of that of the logits only a share: where
    something is, is learned from the picture. Color and logits get the whole of theirs.

    Args:
        density: Absorption per scene unit, >= 0. Shape (rays, samples).
        t_edges: Sample edges in scene units, non-decreasing. Shape (rays, samples + 1).
        color: RGB, [0, 1], float32 or bfloat16; sums are float32. Shape (rays, samples, 3).
        logits: Semantic logits, float32 or bfloat16; there may be none.
            Shape (rays, samples, classes).
        semantic_share: Share of the logits' gradient that reaches the density, [0, 1].

    Raises:
        ValueError: If shapes do not fit together.

    Example:
        >>> red_wall, logits = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[4.0]]])
        >>> edges = torch.tensor([[1.0, 2.0]])
        >>> seen = composite_portrait(
        ...     torch.tensor([[99.0]]), edges, red_wall, logits, semantic_share=0.1
        ... )
        >>> seen.color, seen.logits, seen.distance
        (tensor([[1., 0., 0.]]), tensor([[4.]]), tensor([1.5000]))

    Source: see `composite`.
    """
    _check_edges(density, t_edges)
    for name, values in (("color", color), ("logits", logits)):
        if values.ndim != 3 or values.shape[:2] != density.shape:
            expected = (*density.shape, "channels")
            raise ValueError(f"{name} has shape {tuple(values.shape)}; expected {expected}")
    t_edges = t_edges.detach()
    chosen = backend.choose(density.device).name
    if chosen != "reference" and density.dtype == torch.float32:
        found = _KernelPortrait.apply(  # type: ignore[no-untyped-call]
            density, t_edges, color, logits, semantic_share,
            backend.kernels(chosen, "compositing"),
        )  # fmt: skip
        return PortraitComposite(*found)
    return reference_composite_portrait(
        density, t_edges, color, logits, semantic_share=semantic_share
    )


def reference_composite_portrait(
    density: Float[Tensor, "rays samples"],
    t_edges: Float[Tensor, "rays samples+1"],
    color: Float[Tensor, "rays samples channels"],
    logits: Float[Tensor, "rays samples classes"],
    *,
    semantic_share: float,
) -> PortraitComposite:
    """Do the same as `composite_portrait` in PyTorch: the specification."""
    weights = ray_weights(density, t_edges)
    parsed = scale_gradient(weights, semantic_share)
    t_mid = 0.5 * (t_edges[:, 1:] + t_edges[:, :-1])
    seen = weights.detach()
    return PortraitComposite(
        color=(weights[..., None] * color.to(density.dtype)).sum(dim=-2),
        logits=(parsed[..., None] * logits.to(density.dtype)).sum(dim=-2),
        transmittance=torch.exp(-(density * t_edges.diff(dim=-1)).sum(dim=-1)),
        distance=(seen * t_mid).sum(dim=-1) / seen.sum(dim=-1).clamp(min=LEAST_ACCUMULATION),
        weights=seen,
    )


def _check_edges(density: Tensor, t_edges: Tensor) -> None:
    if t_edges.shape[-1] != density.shape[-1] + 1:
        raise ValueError(
            f"t_edges has {t_edges.shape[-1]} edges for {density.shape[-1]} samples; "
            f"expected {density.shape[-1] + 1}"
        )
    if t_edges.shape[:-1] != density.shape[:-1]:
        raise ValueError(
            f"t_edges has shape {tuple(t_edges.shape)} for a density of {tuple(density.shape)}; "
            "expected the same axes before the last"
        )


class _KernelComposite(torch.autograd.Function):
    """The compiled sum with its hand-written derivatives."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's context
        density: Tensor,
        t_delta: Tensor,
        values: Tensor,
        kernels: backend.Kernels,
    ) -> tuple[Tensor, Tensor, Tensor]:
        density, t_delta = density.detach().contiguous(), t_delta.contiguous()
        values = values.detach().float().contiguous()
        summed = density.new_empty(len(density), values.shape[-1])
        transmittance, weights = density.new_empty(len(density)), torch.empty_like(density)
        kernels.composite_forward(density, t_delta, values, summed, transmittance, weights)
        ctx.save_for_backward(t_delta, values, weights, transmittance)
        ctx.kernels = kernels
        ctx.mark_non_differentiable(weights)
        return summed, transmittance, weights

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ANN401 - autograd's signature
        t_delta, values, weights, transmittance = ctx.saved_tensors
        grad_density, grad_values = torch.empty_like(weights), torch.empty_like(values)
        ctx.kernels.composite_backward(
            t_delta, values, weights, transmittance,
            *(grad.contiguous() for grad in grads[:2]), grad_density, grad_values,
        )  # fmt: skip
        return grad_density, None, grad_values, None


class _KernelPortrait(torch.autograd.Function):
    """The compiled sums of `composite_portrait` with their hand-written derivatives."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's context
        density: Tensor,
        t_edges: Tensor,
        color: Tensor,
        logits: Tensor,
        semantic_share: float,
        kernels: backend.Kernels,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        density, t_edges = density.detach().contiguous(), t_edges.float().contiguous()
        color, logits = color.detach().contiguous(), logits.detach().contiguous()
        rays = len(density)
        out = (
            density.new_empty(rays, color.shape[-1]),
            density.new_empty(rays, logits.shape[-1]),
            density.new_empty(rays),
            density.new_empty(rays),
            torch.empty_like(density),
        )
        kernels.composite_portrait_forward(
            density, t_edges, color, logits, LEAST_ACCUMULATION, *out
        )
        _, _, transmittance, distance, weights = out
        ctx.save_for_backward(t_edges, color, logits, weights, transmittance)
        ctx.semantic_share, ctx.kernels = float(semantic_share), kernels
        ctx.mark_non_differentiable(distance, weights)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ANN401 - autograd's signature
        t_edges, color, logits, weights, transmittance = ctx.saved_tensors
        found = torch.empty_like(weights), torch.empty_like(color), torch.empty_like(logits)
        ctx.kernels.composite_portrait_backward(
            t_edges, color, logits, weights, transmittance,
            *(grad.float().contiguous() for grad in grads[:3]), ctx.semantic_share, *found,
        )  # fmt: skip
        grad_density, grad_color, grad_logits = found
        return grad_density, None, grad_color, grad_logits, None, None
