"""Rays around a height field: where they meet it, and sample points in a band around it.

Shared convention, used by every function below:

    surface        heights z at (y, x) on a square grid, cm; the first node lies at -extent, the
                   last at +extent; beyond its border the border's value holds, and what is no
                   number reads the first node
    origin         where rays start, head space, cm
    direction      unit vectors, head space
    torso_*        the same with the torso held still: a second rigid bone
    t_edges        distances of the sample edges from the ray's origin, increasing, cm

A point at distance t lies at origin + t * direction if it belongs to the head, and at
torso_origin + t * torso_direction if it belongs to the torso.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.ops import backend
from sspnerf.ops.surface_steps import DAMPING, FIXED_POINT_STEPS, LEAST_SLOPE


class PlacedRays(NamedTuple):
    """Where rays meet the surface; carries no gradient."""

    distance: Tensor
    """Along each ray, cm. Shape (rays,)."""
    canonical: Tensor
    """x and y of the point that is met, in the space where head and torso rest, cm. (rays, 2)."""


class BandPoints(NamedTuple):
    """Sample points in a band around the surface."""

    t_edges: Tensor
    """Edges of the samples, cm; no gradient. Shape (rays, samples + 1)."""
    head: Tensor
    """Their middles as points of the head, cm. Shape (rays, samples, 3)."""
    torso: Tensor
    """Their middles as points of the torso, cm. Shape (rays, samples, 3)."""


def surface_height(
    surface: Float[Tensor, "nodes nodes"], x: Float[Tensor, "*rays"], y: Float[Tensor, "*rays"],
    *, extent: float,
) -> Float[Tensor, "*rays"]:  # fmt: skip
    """Look up the surface, bilinearly; beyond its border the border's value holds.

    Args:
        surface: Heights z at (y, x), cm. Shape (nodes, nodes).
        x: World x, cm. Shape (*rays).
        y: World y, cm. Shape (*rays).
        extent: Half the side that the surface covers, cm.

    Returns:
        World z, cm. Shape (*rays).
    """
    grid = torch.stack((x, y), dim=-1).reshape(1, -1, 1, 2) / extent
    # PyTorch's lookup reads memory that is not ours where there is no number.
    grid = grid.nan_to_num(nan=-1.0, posinf=2.0, neginf=-2.0)
    height = torch.nn.functional.grid_sample(
        surface[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return height.reshape(x.shape)


@torch.no_grad()
def hit_surface(
    surface: Float[Tensor, "nodes nodes"],
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    *,
    extent: float,
) -> Float[Tensor, " rays"]:
    """Find where rays meet the surface.

    A few steps of a damped fixed point: go to the plane at the height found so far, look the height
    up there, repeat. Exact where the surface is flat; elsewhere within a small part of the band
    that samples are placed in, which is all it is for. Carries no gradient.

    Args:
        surface: Heights z at (y, x), cm. Shape (nodes, nodes).
        origin: Ray starts, in front of the face. Shape (rays, 3).
        direction: Unit vectors, towards the face (negative z). Shape (rays, 3).
        extent: Half the side that the surface covers, cm.

    Returns:
        Distance along each ray, cm. Shape (rays,).

    Raises:
        ValueError: If the surface is not a square of 2 x 2 or more nodes, or the rays do not fit.

    Example:
        >>> start, ahead = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, -1.0]])
        >>> hit_surface(torch.full((2, 2), 4.0), start, ahead, extent=1.0)
        tensor([5.])
    """
    _check_surface(surface)
    _check_rays(origin, direction)
    kernels = _kernels(origin)
    if kernels is None:
        return reference_hit_surface(surface, origin, direction, extent=extent)
    distance = origin.new_empty(len(origin))
    kernels.hit_surface(
        *_dense(surface.reshape(-1)), len(surface), *_dense(origin, direction), extent, distance
    )
    return distance


def reference_hit_surface(
    surface: Float[Tensor, "nodes nodes"],
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    *,
    extent: float,
) -> Float[Tensor, " rays"]:
    """Do the same as `hit_surface` in PyTorch: the specification."""
    slope = direction[:, 2].clamp(max=LEAST_SLOPE)
    height = torch.zeros_like(slope)
    for step in range(FIXED_POINT_STEPS):
        distance = (height - origin[:, 2]) / slope
        x = origin[:, 0] + distance * direction[:, 0]
        y = origin[:, 1] + distance * direction[:, 1]
        found = surface_height(surface, x, y, extent=extent)
        height = found if step == 0 else height + DAMPING * (found - height)
    return (height - origin[:, 2]) / slope


@torch.no_grad()
def place_rays(
    surface: Float[Tensor, "nodes nodes"],
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    torso_origin: Float[Tensor, "rays 3"],
    torso_direction: Float[Tensor, "rays 3"],
    *,
    extent: float,
    neck_height: Float[Tensor, ""] | None,
    neck_softness: float,
) -> PlacedRays:
    """Find where rays meet the surface as part of the head or of the torso, and at what x and y.

    Both bones carry the surface. Each ray meets it once as head and once as torso; what counts is
    blended by how far the second point lies below the neck. Carries no gradient.

    Args:
        surface: Heights z at (y, x), cm. Shape (nodes, nodes).
        origin: Ray starts in head space, cm. Shape (rays, 3).
        direction: Unit vectors in head space. Shape (rays, 3).
        torso_origin: Ray starts with the torso held still, cm. Shape (rays, 3).
        torso_direction: Unit vectors with the torso held still. Shape (rays, 3).
        extent: Half the side that the surface covers, cm.
        neck_height: Where the neck bends, y, cm; None if there is no torso that moves apart.
        neck_softness: Length over which head and torso fade into each other, cm.

    Raises:
        ValueError: If the surface is not a square of 2 x 2 or more nodes, or the rays do not fit.
    """
    _check_surface(surface)
    rays = (origin, direction, torso_origin, torso_direction)
    _check_rays(*rays)
    kernels = _kernels(origin)
    if kernels is None:
        return reference_place_rays(
            surface, *rays, extent=extent, neck_height=neck_height, neck_softness=neck_softness
        )
    if neck_height is None:
        distance = hit_surface(surface, origin, direction, extent=extent)
        return PlacedRays(distance, torch.addcmul(origin, distance[:, None], direction)[:, :2])
    distance, canonical = origin.new_empty(len(origin)), origin.new_empty(len(origin), 2)
    kernels.place_rays(
        *_dense(surface.reshape(-1)), len(surface), *_dense(*rays),
        extent, neck_height, neck_softness, distance, canonical,
    )  # fmt: skip
    return PlacedRays(distance, canonical)


def reference_place_rays(
    surface: Float[Tensor, "nodes nodes"],
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    torso_origin: Float[Tensor, "rays 3"],
    torso_direction: Float[Tensor, "rays 3"],
    *,
    extent: float,
    neck_height: Float[Tensor, ""] | None,
    neck_softness: float,
) -> PlacedRays:
    """Do the same as `place_rays` in PyTorch: the specification."""
    distance = reference_hit_surface(surface, origin, direction, extent=extent)
    if neck_height is None:
        return PlacedRays(distance, (origin + distance[:, None] * direction)[:, :2])
    as_torso = reference_hit_surface(surface, torso_origin, torso_direction, extent=extent)
    height = torso_origin[:, 1] + as_torso * torso_direction[:, 1]
    weight = torch.sigmoid((neck_height - height) / neck_softness)
    distance = torch.lerp(distance, as_torso, weight)
    head = (origin + distance[:, None] * direction)[:, :2]
    torso = (torso_origin + distance[:, None] * torso_direction)[:, :2]
    weight = torch.sigmoid((neck_height - torso[:, 1]) / neck_softness)
    return PlacedRays(distance, torch.lerp(head, torso, weight[:, None]))


def band_points(
    distance: Float[Tensor, " rays"],
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    torso_origin: Float[Tensor, "rays 3"],
    torso_direction: Float[Tensor, "rays 3"],
    *,
    front: float | Float[Tensor, " rays"],
    back: float | Float[Tensor, " rays"],
    samples: int,
    shift: Float[Tensor, " rays"] | None = None,
) -> BandPoints:
    """Cut the band around the surface into samples of equal length; find their middles.

    Differentiable in the four ray tensors. Distances are taken as given.

    Args:
        distance: Where each ray meets the surface, cm. Shape (rays,).
        origin: Ray starts in head space, cm. Shape (rays, 3).
        direction: Unit vectors in head space. Shape (rays, 3).
        torso_origin: Ray starts with the torso held still, cm. Shape (rays, 3).
        torso_direction: Unit vectors with the torso held still. Shape (rays, 3).
        front: How far the band reaches from the surface towards the camera, cm; one number, or
            one per ray.
        back: How far it reaches away from the camera, cm; front + back > 0.
        samples: How many per ray, >= 1.
        shift: How far each ray's samples are moved together, in lengths of a sample, [-0.5, 0.5);
            None: not at all. Shape (rays,).

    Raises:
        ValueError: If no sample is asked for, or shapes do not fit together.

    Example:
        >>> ray = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -1.0]])
        >>> band_points(torch.tensor([5.0]), *ray, *ray, front=1.0, back=3.0, samples=2).t_edges
        tensor([[4., 6., 8.]])
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; expected at least 1")
    rays = (origin, direction, torso_origin, torso_direction)
    _check_rays(*rays)
    for name, each in (("distance", distance), ("front", front), ("back", back), ("shift", shift)):
        if isinstance(each, Tensor) and each.shape != origin.shape[:1]:
            raise ValueError(f"{name} has shape {tuple(each.shape)}; expected ({len(origin)},)")
    distance = distance.detach()
    kernels = _kernels(origin)
    if kernels is None:
        return reference_band_points(
            distance, *rays, front=front, back=back, samples=samples, shift=shift
        )
    moved = 0.0 if shift is None else shift
    bounds = tuple(_per_ray(each, distance) for each in (front, back, moved))
    found = _KernelPoints.apply(*rays, distance, bounds, samples, kernels)  # type: ignore[no-untyped-call]
    return BandPoints(*found)


def reference_band_points(
    distance: Float[Tensor, " rays"],
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    torso_origin: Float[Tensor, "rays 3"],
    torso_direction: Float[Tensor, "rays 3"],
    *,
    front: float | Float[Tensor, " rays"],
    back: float | Float[Tensor, " rays"],
    samples: int,
    shift: Float[Tensor, " rays"] | None = None,
) -> BandPoints:
    """Do the same as `band_points` in PyTorch: the specification."""
    near, length = distance - front, torch.zeros_like(distance) + (front + back)
    place = torch.arange(samples + 1, device=distance.device, dtype=distance.dtype)[None]
    if shift is not None:
        place = place + shift[:, None]
    t_edges = near[:, None] + length[:, None] * (place / samples)
    t_mid = (0.5 * (t_edges[:, 1:] + t_edges[:, :-1]))[..., None]
    return BandPoints(
        t_edges,
        torch.addcmul(origin[:, None], t_mid, direction[:, None]),
        torch.addcmul(torso_origin[:, None], t_mid, torso_direction[:, None]),
    )


class _KernelPoints(torch.autograd.Function):
    """The compiled points with their hand-written derivatives."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's context
        origin: Tensor,
        direction: Tensor,
        torso_origin: Tensor,
        torso_direction: Tensor,
        distance: Tensor,
        bounds: tuple[Tensor, Tensor, Tensor],
        samples: int,
        kernels: backend.Kernels,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rays = len(origin)
        t_edges = origin.new_empty(rays, samples + 1)
        head, torso = origin.new_empty(rays, samples, 3), origin.new_empty(rays, samples, 3)
        kernels.band_points(
            *_dense(distance, origin, direction, torso_origin, torso_direction, *bounds),
            t_edges, head, torso,
        )  # fmt: skip
        ctx.save_for_backward(t_edges)
        ctx.kernels = kernels
        ctx.mark_non_differentiable(t_edges)
        return t_edges, head, torso

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ANN401 - autograd's signature
        (t_edges,) = ctx.saved_tensors
        found: list[Tensor | None] = []
        for bone, grad in enumerate(grads[1:]):
            if not any(ctx.needs_input_grad[2 * bone : 2 * bone + 2]):
                found += (None, None)
                continue
            pair = t_edges.new_empty(len(t_edges), 3), t_edges.new_empty(len(t_edges), 3)
            ctx.kernels.band_points_backward(t_edges, *_dense(grad), *pair)
            found += pair
        return *found, None, None, None, None


def _kernels(origin: Tensor) -> backend.Kernels | None:
    """Return the kernels that take these rays, or None where the reference does."""
    chosen = backend.choose(origin.device).name
    if chosen == "reference" or origin.dtype != torch.float32:
        return None
    return backend.kernels(chosen, "band")


def _dense(*tensors: Tensor) -> list[Tensor]:
    """Return what the kernels read: dense float32."""
    return [tensor.detach().float().contiguous() for tensor in tensors]


def _per_ray(value: float | Tensor, like: Tensor) -> Tensor:
    """Return one number per ray, or one for all."""
    return value if isinstance(value, Tensor) else like.new_full((1,), value)


def _check_surface(surface: Tensor) -> None:
    if surface.ndim != 2 or surface.shape[0] != surface.shape[1] or len(surface) < 2:
        raise ValueError(
            f"surface has shape {tuple(surface.shape)}; expected (nodes, nodes), 2 or more"
        )


def _check_rays(*rays: Tensor) -> None:
    expected = (len(rays[0]), 3)
    for tensor in rays:
        if tensor.shape != expected:
            raise ValueError(f"rays have shape {tuple(tensor.shape)}; expected {expected}")
