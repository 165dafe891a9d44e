"""Rays -> color, semantic logits, distance, accumulation."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.config import BandConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.fields.driven_field import Drive, DrivenField
from sspnerf.geometry.face_mesh import intersect_surface
from sspnerf.geometry.rays import RayBundle, points_along
from sspnerf.ops.compositing import composite
from sspnerf.ops.ray_sampling import midpoints, stratified_edges

# The last sample of a ray is the background, and this certain of its class (softmax: 0.9967).
BACKGROUND_LOGIT = 8.0


class RenderedRays(NamedTuple):
    """What rays see."""

    color: Tensor
    """Person over background, RGB in [0, 1]. Shape (rays, 3)."""
    logits: Tensor
    """Composited semantic logits, before softmax. Shape (rays, classes)."""
    accumulation: Tensor
    """How much of the light the person absorbs, [0, 1]. Shape (rays,)."""
    distance: Tensor
    """Mean distance of what is seen of the person, cm; no gradient. Shape (rays,)."""
    residual: Tensor
    """Residuals of the torso deformation, cm. Shape (rays * samples, 3)."""


def surface_distance(driven: DrivenField, rays: RayBundle) -> Float[Tensor, " rays"]:
    """Find where each ray meets the rest surface, as part of the head or of the torso.

    No gradient: it only places samples.
    """
    field = driven.field
    extent = field.extent
    with torch.no_grad():
        head = intersect_surface(field.surface, rays.origin, rays.direction, extent=extent)
        if driven.torso_deformation is None:
            return head
        torso = intersect_surface(
            field.surface, rays.torso_origin, rays.torso_direction, extent=extent
        )
        height = rays.torso_origin[:, 1] + torso * rays.torso_direction[:, 1]
        return torch.lerp(head, torso, driven.torso_deformation.initial_weight(height))


def render_rays(
    driven: DrivenField,
    rays: RayBundle,
    drive: Drive,
    *,
    background: Float[Tensor, "rays 3"],
    band: BandConfig,
    band_scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> RenderedRays:
    """Render rays: samples in the band around the surface, the field, compositing.

    Args:
        driven: The learned parts.
        rays: What to render.
        drive: What drives the frames that the rays' slots name.
        background: Color behind the person at each ray, [0, 1]. Shape (rays, 3).
        band: Where samples lie.
        band_scale: Share of the band's first extent, (0, 1].
        generator: Source of random sample positions while training, or None.

    Returns:
        What the rays see; differentiable in all parameters and in the rays.
    """
    surface = surface_distance(driven, rays)
    t_edges = stratified_edges(
        surface - band.front * band_scale,
        surface + band.back * band_scale,
        samples=band.samples,
        generator=generator,
    )
    t_mid = midpoints(t_edges)
    shape = t_mid.shape
    output, residual = driven(
        points_along(rays.origin, rays.direction, t_mid).reshape(-1, 3),
        points_along(rays.torso_origin, rays.torso_direction, t_mid).reshape(-1, 3),
        _for_samples(drive.condition[rays.slot], shape[1]),
        _for_samples(drive.difference[rays.slot], shape[1]),
    )
    values = torch.cat((output.color, output.logits), dim=-1)
    values = values.reshape(*shape, values.shape[-1])
    seen = composite(output.density.view(shape), t_edges, values)
    behind = seen.transmittance[:, None]
    certain = torch.zeros(SEMANTIC_CLASSES, device=behind.device)
    certain[SemanticClass.BACKGROUND] = BACKGROUND_LOGIT
    return RenderedRays(
        color=seen.values[:, :3] + behind * background,
        logits=seen.values[:, 3:] + behind * certain,
        accumulation=1 - seen.transmittance,
        distance=(seen.weights * t_mid).sum(-1) / seen.weights.sum(-1).clamp(min=1e-6),
        residual=residual,
    )


def _for_samples(
    per_ray: Float[Tensor, "rays channels"], samples: int
) -> Float[Tensor, "points channels"]:
    """Repeat each ray's row for each of its samples."""
    return per_ray[:, None].expand(-1, samples, -1).reshape(-1, per_ray.shape[-1])
