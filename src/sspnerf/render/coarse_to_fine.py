"""Architecture `perceptron`: samples along the whole ray, then more where something was found."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.config import VolumeConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_perceptrons import DrivenPerceptrons
from sspnerf.fields.perceptron_field import PerceptronField
from sspnerf.fields.portrait_field import FieldOutput
from sspnerf.geometry.rays import RayBundle, points_along
from sspnerf.ops.compositing import Composite, composite
from sspnerf.ops.ray_sampling import importance_samples, merge_edges, midpoints, stratified_edges
from sspnerf.render.rendered import (
    Portrayed,
    RenderedRays,
    certain_background,
    over_background,
)

# Points -> what is there, and their offsets; both one row per point, ray by ray.
Ask = Callable[[Tensor, Tensor, int], tuple[FieldOutput, Tensor]]


class March(NamedTuple):
    """What one field shows along rays, before the background."""

    seen: Composite
    """Values are colors, then semantic logits. Shape (rays, 3 + classes)."""
    t_edges: Tensor
    """Shape (rays, samples + 1)."""
    offset: Tensor
    """Deformation, cm. Shape (rays, samples, 3)."""

    def over(self, background: Float[Tensor, "rays 3"]) -> Portrayed:
        """Lay it over the plate."""
        certain = certain_background(background.device).expand(len(background), -1)
        values = over_background(self.seen, torch.cat((background, certain), dim=-1))
        return Portrayed(values[:, :3], values[:, 3:])

    def distance(self) -> Float[Tensor, " rays"]:
        """Return the mean distance of what is seen, cm."""
        weights = self.seen.weights
        return (weights * midpoints(self.t_edges)).sum(-1) / weights.sum(-1).clamp(min=1e-6)


def march(
    ask: Ask,
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    t_edges: Float[Tensor, "rays edges"],
) -> March:
    """Ask a field in the middle of each sample, and sum along the rays."""
    t_mid = midpoints(t_edges)
    shape = t_mid.shape
    position = points_along(origin, direction, t_mid).reshape(-1, 3)
    towards = direction[:, None].expand(*shape, 3).reshape(-1, 3)
    output, offset = ask(position, towards, shape[1])
    logits = output.logits
    if logits.shape[-1] == 0:
        logits = logits.new_zeros(len(logits), SEMANTIC_CLASSES)
    values = torch.cat((output.color, logits), dim=-1).reshape(*shape, 3 + SEMANTIC_CLASSES)
    seen = composite(output.density.view(shape), t_edges, values)
    return March(seen, t_edges, offset.view(*shape, 3))


def march_twice(
    coarse: Ask,
    fine: Ask,
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    *,
    volume: VolumeConfig,
    generator: torch.Generator | None,
) -> tuple[March, March]:
    """March evenly from near to far, then with more samples where the first march found something.

    Source: Mildenhall et al. 2020 (arXiv:2003.08934), section 5.2.

    Raises:
        ValueError: If near and far are not set.
    """
    if volume.near is None or volume.far is None:
        raise ValueError("volume.near and volume.far are not set; fit them to the clip first")
    near = torch.full_like(origin[:, 0], volume.near).detach()
    far = torch.full_like(near, volume.far)
    t_coarse = stratified_edges(near, far, samples=volume.coarse, generator=generator)
    first = march(coarse, origin, direction, t_coarse)
    found = importance_samples(
        t_coarse, first.seen.weights, samples=volume.fine, generator=generator
    )
    return first, march(fine, origin, direction, merge_edges(t_coarse, found))


def render_coarse_to_fine(
    driven: DrivenPerceptrons,
    rays: RayBundle,
    drive: Drive,
    *,
    background: Float[Tensor, "rays 3"],
    generator: torch.Generator | None,
) -> RenderedRays:
    """Render rays; arguments as of `volume.render_rays`."""
    codes = driven.code_volume()

    def asking(field: PerceptronField) -> Ask:
        def ask(position: Tensor, towards: Tensor, samples: int) -> tuple[FieldOutput, Tensor]:
            per_sample = drive.of_points(rays.slot, samples).per_point()
            answer: tuple[FieldOutput, Tensor] = driven(
                field, position, towards, per_sample, codes=codes
            )
            return answer

        return ask

    coarse, fine = march_twice(
        asking(driven.coarse),
        asking(driven.fine),
        rays.origin,
        rays.direction,
        volume=driven.config.volume,
        generator=generator,
    )
    portrayed = fine.over(background)
    return RenderedRays(
        color=portrayed.color,
        logits=portrayed.logits,
        accumulation=1 - fine.seen.transmittance,
        distance=fine.distance(),
        residual=fine.offset,
        offset=fine.offset,
        coarse=coarse.over(background),
    )
