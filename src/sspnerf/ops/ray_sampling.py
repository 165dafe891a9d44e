"""Distances along rays: where a ray asks the field."""

import torch
from jaxtyping import Float
from torch import Tensor


def stratified_edges(
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    *,
    samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*rays {samples}+1"]:
    """Cut the way from near to far into samples of equal length.

    With a generator each ray's cuts are shifted together by up to half a sample either way, so that
    over many steps every distance is asked; without, the cuts are fixed.

    Args:
        near: Where the first sample starts, scene units. Shape (*rays).
        far: Where the last sample ends, > near. Shape (*rays).
        samples: How many, >= 1.
        generator: Source of the shift, or None.

    Returns:
        Increasing edges. Shape (*rays, samples + 1).

    Raises:
        ValueError: If no sample is asked for.

    Example:
        >>> stratified_edges(torch.tensor(1.0), torch.tensor(3.0), samples=2)
        tensor([1., 2., 3.])
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; expected at least 1")
    share = torch.linspace(0, 1, samples + 1, device=near.device, dtype=near.dtype)
    edges = near[..., None] + (far - near)[..., None] * share
    if generator is None:
        return edges
    shift = torch.rand(near.shape, generator=generator, device=near.device, dtype=near.dtype) - 0.5
    return edges + (shift * (far - near) / samples)[..., None]


def midpoints(t_edges: Float[Tensor, "*rays edges"]) -> Float[Tensor, "*rays edges-1"]:
    """Return the middle of each sample.

    Example:
        >>> midpoints(torch.tensor([0.0, 1.0, 4.0]))
        tensor([0.5000, 2.5000])
    """
    return 0.5 * (t_edges[..., 1:] + t_edges[..., :-1])
