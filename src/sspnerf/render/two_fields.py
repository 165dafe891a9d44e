"""Architecture `head-and-torso`: the torso's field over the head's."""

import contextlib

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.fields.drive import Drive
from sspnerf.fields.head_and_torso import HeadAndTorso
from sspnerf.fields.perceptron_field import PerceptronField
from sspnerf.fields.portrait_field import FieldOutput
from sspnerf.geometry.rays import RayBundle
from sspnerf.render.coarse_to_fine import Ask, March, march_twice
from sspnerf.render.rendered import Portrayed, RenderedRays


def render_head_and_torso(
    driven: HeadAndTorso,
    rays: RayBundle,
    drive: Drive,
    *,
    background: Float[Tensor, "rays 3"],
    generator: torch.Generator | None,
) -> RenderedRays:
    """Render rays; arguments as of `volume.render_rays`.

    The torso's rays start at the torso's camera, which stands still. What it lets through
    (AD-NeRF's last weight) shows the head: I = T_torso I_head + I_torso.
    """
    torso_stage = bool(driven.learns_torso)
    with torch.no_grad() if torso_stage else contextlib.nullcontext():
        head = march_twice(
            _asking(driven.head_coarse, drive.condition[rays.slot]),
            _asking(driven.head_fine, drive.condition[rays.slot]),
            rays.origin,
            rays.direction,
            volume=driven.config.volume,
            generator=generator,
        )
    shown = [layer.over(background) for layer in head]
    accumulation, distance = 1 - head[1].seen.transmittance, head[1].distance()
    offset = head[1].offset
    if torso_stage:
        told = driven.torso_condition(drive)[rays.slot]
        torso = march_twice(
            _asking(driven.torso_coarse, told),
            _asking(driven.torso_fine, told),
            rays.torso_origin,
            rays.torso_direction,
            volume=driven.config.volume,
            generator=generator,
        )
        # Both of the torso's fields are laid over what the head's fine field shows.
        behind, behind_accumulation = shown[1].color, accumulation
        shown = [_in_front(layer, behind, shown[1]) for layer in torso]
        let_through = torso[1].seen.transmittance
        accumulation = 1 - let_through * (1 - behind_accumulation)
        nearest = torso[1].distance() * (1 - let_through)
        seen = nearest + let_through * behind_accumulation * distance
        distance = (seen / accumulation.clamp(min=1e-6)).detach()
    return RenderedRays(
        color=shown[1].color,
        logits=shown[1].logits,
        accumulation=accumulation,
        distance=distance,
        residual=torch.zeros_like(offset),
        offset=torch.zeros_like(offset),
        coarse=shown[0],
    )


def _in_front(layer: March, behind: Tensor, portrayed: Portrayed) -> Portrayed:
    color = layer.seen.values[:, :3] + layer.seen.transmittance[:, None] * behind
    return Portrayed(color, portrayed.logits)


def _asking(field: PerceptronField, condition: Float[Tensor, "rays condition_dim"]) -> Ask:
    def ask(position: Tensor, towards: Tensor, samples: int) -> tuple[FieldOutput, Tensor]:
        told = condition.repeat_interleave(samples, dim=0)
        return field(position, towards, told), torch.zeros_like(position)

    return ask
