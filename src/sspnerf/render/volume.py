"""Rays -> color, semantic logits, distance, accumulation: each architecture in its own way."""

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.driven_perceptrons import DrivenPerceptrons
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.fields.head_and_torso import HeadAndTorso
from sspnerf.geometry.rays import RayBundle
from sspnerf.render.band import render_band
from sspnerf.render.coarse_to_fine import render_coarse_to_fine
from sspnerf.render.rendered import RenderedRays
from sspnerf.render.two_fields import render_head_and_torso


def render_rays(
    driven: DrivenField,
    rays: RayBundle,
    drive: Drive,
    *,
    background: Float[Tensor, "rays 3"],
    band_scale: float = 1.0,
    generator: torch.Generator | None = None,
    surface: Float[Tensor, " rays"] | None = None,
    parse: bool = True,
) -> RenderedRays:
    """Render rays: samples, the field, compositing.

    Args:
        driven: The learned parts.
        rays: What to render.
        drive: What drives the frames that the rays' slots name.
        background: Color behind the person at each ray, [0, 1]. Shape (rays, 3).
        band_scale: Share of the band's first extent, (0, 1]; for architecture `planes`.
        generator: Source of random sample positions while training, or None.
        surface: Where each ray meets the rest surface, cm, if it is known already
            (`person_map.rays_on_person`); for architecture `planes`. Shape (rays,).
        parse: Whether the semantic logits are wanted; without, architecture `planes` saves its
            parsing branch and gives none. Shape of the logits then (rays, 0).

    Returns:
        What the rays see; differentiable in all parameters and in the rays.
    """
    if isinstance(driven, DrivenPlanes):
        return render_band(
            driven, rays, drive, background=background, band_scale=band_scale, generator=generator,
            surface=surface, parse=parse,
        )  # fmt: skip
    if isinstance(driven, DrivenPerceptrons):
        return render_coarse_to_fine(
            driven, rays, drive, background=background, generator=generator
        )
    if isinstance(driven, HeadAndTorso):
        return render_head_and_torso(
            driven, rays, drive, background=background, generator=generator
        )
    raise TypeError(f"{type(driven).__name__} is no architecture that can be rendered")
