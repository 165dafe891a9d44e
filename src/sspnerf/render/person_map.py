"""Where the person can be: rays that miss it are background and cost nothing.

The person map is a boolean grid over canonical x and y (the head's and torso's own space, as the
rest surface), collected from the person masks of the training frames. It turns with the poses, so
it holds for poses that were never filmed.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.geometry.rays import RayBundle
from sspnerf.render.band import place_rays

MAP_NODES = 256
# What the masks say is widened by this much: hair moves, and poses are not exact.
MAP_MARGIN_NODES = 2


class RaysOnPerson(NamedTuple):
    """Rays that may show the person."""

    which: Tensor
    """Their places, increasing. Shape (kept,)."""
    surface: Tensor | None
    """Where these meet the rest surface, cm; None where there is none to ask. Shape (kept,)."""


def canonical_nodes(driven: DrivenPlanes, rays: RayBundle) -> Float[Tensor, "rays 2"]:
    """Find the cell (column, row) of the person map that each ray passes through."""
    return _cells(driven, place_rays(driven, rays).canonical)


def _cells(driven: DrivenPlanes, canonical: Float[Tensor, "rays 2"]) -> Float[Tensor, "rays 2"]:
    cell = (canonical / driven.field.extent * 0.5 + 0.5) * MAP_NODES
    return cell.clamp(0, MAP_NODES - 1)


def mark_person(
    person_map: Bool[Tensor, "nodes nodes"],
    driven: DrivenPlanes,
    rays: RayBundle,
    *,
    person: Bool[Tensor, " rays"],
) -> None:
    """Mark in the map, in place, where rays that show the person pass."""
    cell = canonical_nodes(driven, rays)[person].long()
    person_map[cell[:, 1], cell[:, 0]] = True


def widen_map(person_map: Bool[Tensor, "nodes nodes"]) -> Bool[Tensor, "nodes nodes"]:
    """Return the map with a margin around what was marked."""
    width = 2 * MAP_MARGIN_NODES + 1
    grown = torch.nn.functional.max_pool2d(
        person_map[None, None].float(), width, stride=1, padding=MAP_MARGIN_NODES
    )
    return grown[0, 0] > 0


def rays_on_person(
    person_map: Bool[Tensor, "nodes nodes"], driven: DrivenField, rays: RayBundle
) -> RaysOnPerson:
    """Choose the rays that may show the person; all of them where there is no surface to ask."""
    if not isinstance(driven, DrivenPlanes):
        return RaysOnPerson(torch.arange(len(rays), device=rays.slot.device), None)
    placed = place_rays(driven, rays)
    cell = _cells(driven, placed.canonical).long()
    which = torch.nonzero(person_map[cell[:, 1], cell[:, 0]])[:, 0]
    return RaysOnPerson(which, placed.distance[which])


def on_person(
    person_map: Bool[Tensor, "nodes nodes"], driven: DrivenField, rays: RayBundle
) -> Bool[Tensor, " rays"]:
    """Say of each ray whether it may show the person."""
    kept = torch.zeros(len(rays), dtype=torch.bool, device=rays.slot.device)
    kept[rays_on_person(person_map, driven, rays).which] = True
    return kept
