"""Architecture `planes`: a few samples in a band around the rest surface."""

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.geometry.rays import RayBundle, points_along
from sspnerf.geometry.rest_surface import intersect_surface
from sspnerf.ops.compositing import composite
from sspnerf.ops.gradients import scale_gradient
from sspnerf.ops.ray_sampling import midpoints, stratified_edges
from sspnerf.render.rendered import RenderedRays, certain_background, over_background


def surface_distance(driven: DrivenPlanes, rays: RayBundle) -> Float[Tensor, " rays"]:
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


def render_band(
    driven: DrivenPlanes,
    rays: RayBundle,
    drive: Drive,
    *,
    background: Float[Tensor, "rays 3"],
    band_scale: float,
    generator: torch.Generator | None,
) -> RenderedRays:
    """Render rays; arguments as of `volume.render_rays`."""
    surface, band = surface_distance(driven, rays), driven.config.band
    t_edges = stratified_edges(
        surface - band.front * band_scale,
        surface + band.back * band_scale,
        samples=band.samples,
        generator=generator,
    )
    t_mid = midpoints(t_edges)
    shape = t_mid.shape
    answer = driven(
        points_along(rays.origin, rays.direction, t_mid).reshape(-1, 3),
        points_along(rays.torso_origin, rays.torso_direction, t_mid).reshape(-1, 3),
        drive.per_sample(rays.slot, shape[1]),
    )
    density = answer.output.density.view(shape)
    seen = composite(density, t_edges, answer.output.color.view(*shape, 3))
    # The same density; the parsing's gradient reaches it in part.
    parsed = composite(
        scale_gradient(density, driven.config.field.semantic_share),
        t_edges,
        answer.output.logits.view(*shape, answer.output.logits.shape[-1]),
    )
    color = over_background(seen, background)
    logits = over_background(parsed, certain_background(background.device))
    return RenderedRays(
        color=color,
        logits=logits,
        accumulation=1 - seen.transmittance,
        distance=(seen.weights * t_mid).sum(-1) / seen.weights.sum(-1).clamp(min=1e-6),
        residual=answer.residual.view(*shape, 3),
        offset=answer.offset.view(*shape, 3),
    )
