"""Architecture `planes`: a few samples in a band around the rest surface."""

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.fields.portrait_field import NECK_SOFTNESS_CM
from sspnerf.geometry.rays import RayBundle
from sspnerf.ops import band as ops
from sspnerf.ops.compositing import composite_portrait
from sspnerf.ops.gradients import scale_gradient
from sspnerf.render.rendered import RenderedRays, certain_background


def place_rays(driven: DrivenPlanes, rays: RayBundle) -> ops.PlacedRays:
    """Find where each ray meets the rest surface, as part of the head or of the torso.

    Where the person bends is taken from the deformation's start, not from what it learned: it only
    places samples and reads maps. Carries no gradient.
    """
    torso = driven.torso_deformation
    return ops.place_rays(
        driven.field.surface,
        rays.origin,
        rays.direction,
        rays.torso_origin,
        rays.torso_direction,
        extent=driven.field.extent,
        neck_height=None if torso is None else torso.neck_height,
        neck_softness=NECK_SOFTNESS_CM,
    )


def surface_distance(driven: DrivenPlanes, rays: RayBundle) -> Float[Tensor, " rays"]:
    """Find how far away each ray meets the rest surface, cm; see `place_rays`."""
    return place_rays(driven, rays).distance


def render_band(
    driven: DrivenPlanes,
    rays: RayBundle,
    drive: Drive,
    *,
    background: Float[Tensor, "rays 3"],
    band_scale: float,
    generator: torch.Generator | None,
    surface: Float[Tensor, " rays"] | None = None,
    parse: bool = True,
) -> RenderedRays:
    """Render rays; arguments as of `volume.render_rays`."""
    band, share = driven.config.band, driven.config.field.semantic_share
    if surface is None:
        surface = surface_distance(driven, rays)
    shift = None
    if generator is not None:
        shift = torch.rand(surface.shape, generator=generator, device=surface.device) - 0.5
    points = ops.band_points(
        surface,
        rays.origin,
        rays.direction,
        rays.torso_origin,
        rays.torso_direction,
        front=band.front * band_scale,
        back=band.back * band_scale,
        samples=band.rendered if generator is None else band.samples,
        shift=shift,
    )
    shape = points.head.shape[:2]
    at_head, at_torso = points.head.view(-1, 3), points.torso.view(-1, 3)
    answer = driven(at_head, at_torso, drive.of_points(rays.slot, shape[1]), parse=parse)
    seen = composite_portrait(
        answer.output.density.view(shape),
        points.t_edges,
        answer.output.color.view(*shape, 3),
        answer.output.logits.view(*shape, answer.output.logits.shape[-1]),
        semantic_share=share,
    )
    # What passes is the same for both; the parsing's gradient reaches it in part.
    passes, parsed = seen.transmittance, scale_gradient(seen.transmittance, share)
    logits = seen.logits
    if parse:
        logits = logits + parsed[:, None] * certain_background(background.device)
    return RenderedRays(
        color=seen.color + passes[:, None] * background,
        logits=logits,
        accumulation=1 - passes,
        distance=seen.distance,
        residual=answer.residual.view(*shape, 3),
        offset=answer.offset.view(*shape, 3),
    )
