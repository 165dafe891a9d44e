"""Distances along rays: where a ray asks the field."""

import torch
from jaxtyping import Float
from torch import Tensor

# Keeps every interval possible: where the coarse field sees nothing, the fine one may. Source:
# run_nerf_helpers.py of Mildenhall et al. 2020.
WEIGHT_FLOOR = 1e-5


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


def importance_samples(
    t_edges: Float[Tensor, "*rays edges"],
    weights: Float[Tensor, "*rays edges-1"],
    *,
    samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*rays {samples}"]:
    """Choose distances where a first pass along the rays found something.

    Inverts the cumulative distribution of a density that is constant between two edges and
    proportional there to weight + 1e-5. Carries no gradient.

    Args:
        t_edges: Edges of the intervals, scene units, non-decreasing. Shape (*rays, edges).
        weights: How much to expect of each interval, >= 0; need not sum to 1.
            Shape (*rays, edges - 1).
        samples: How many distances per ray, >= 1.
        generator: Source of the place of each quantile in its stratum, one of `samples` equal
            shares of the distribution; without it, the middles are taken.

    Returns:
        Non-decreasing distances between the first and the last edge, scene units.
        Shape (*rays, samples).

    Raises:
        ValueError: If no sample is asked for, or the weights do not fit the edges.

    Example:
        >>> importance_samples(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 1.0]), samples=2)
        tensor([1.5000, 2.5000])

    Source: Mildenhall et al. 2020 (arXiv:2003.08934), sec. 5.2. Differs in: one quantile per
        stratum instead of independent ones, which leaves no share of the light unasked by chance;
        the intervals are the samples' own, not those between their middles.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; expected at least 1")
    _check_intervals(t_edges, weights)
    edges, shares = t_edges.detach(), weights.detach() + WEIGHT_FLOOR
    below = torch.nn.functional.pad(shares.cumsum(dim=-1), (1, 0))
    below = below / below[..., -1:]
    size = (*edges.shape[:-1], samples)
    if generator is None:
        within = edges.new_full(size, 0.5)
    else:
        within = torch.rand(size, generator=generator, device=edges.device, dtype=edges.dtype)
    stratum = torch.arange(samples, device=edges.device, dtype=edges.dtype)
    # Below 1 in spite of rounding, so that it lies in an interval that has a share.
    quantile = ((stratum + within) / samples).clamp(max=1 - torch.finfo(edges.dtype).eps)
    after = torch.searchsorted(below, quantile, right=True)
    # Only where weights are not numbers: these must not turn into a wrong address.
    after = after.clamp(1, shares.shape[-1])
    low, high = below.gather(-1, after - 1), below.gather(-1, after)
    start, end = edges.gather(-1, after - 1), edges.gather(-1, after)
    share = (quantile - low) / (high - low)
    return start + share * (end - start)


def _check_intervals(t_edges: Tensor, weights: Tensor) -> None:
    expected = (*t_edges.shape[:-1], t_edges.shape[-1] - 1)
    if tuple(weights.shape) != expected or expected[-1] < 1:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)} for edges of {tuple(t_edges.shape)}; "
            "expected one weight per interval, and at least one"
        )


def merge_edges(
    t_edges: Float[Tensor, "*rays edges"], t_new: Float[Tensor, "*rays new"]
) -> Float[Tensor, "*rays edges+new"]:
    """Cut samples further: the old edges and the new ones, in order.

    Args:
        t_edges: Edges along each ray, scene units. Shape (*rays, edges).
        t_new: More distances, in any order, scene units. Shape (*rays, new).

    Returns:
        Non-decreasing edges. Shape (*rays, edges + new).

    Example:
        >>> merge_edges(torch.tensor([0.0, 2.0]), torch.tensor([1.5, 0.5]))
        tensor([0.0000, 0.5000, 1.5000, 2.0000])
    """
    return torch.cat((t_edges, t_new), dim=-1).sort(dim=-1).values
