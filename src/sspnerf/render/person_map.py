"""Where the person can be: rays that miss it are background and cost nothing.

The person map is a boolean grid over canonical x and y (the head's and torso's own space, as the
rest surface), collected from the person masks of the training frames. It turns with the poses, so
it holds for poses that were never filmed.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.geometry.rays import RayBundle
from sspnerf.render.band import surface_distance

MAP_NODES = 256
# What the masks say is widened by this much: hair moves, and poses are not exact.
MAP_MARGIN_NODES = 2


def canonical_nodes(driven: DrivenPlanes, rays: RayBundle) -> Float[Tensor, "rays 2"]:
    """Find the cell (column, row) of the person map that each ray passes through.

    Where the person bends is taken from the deformation's start, not from what it learned: the map
    is made and read with the same rule, which is all that matters.
    """
    distance = surface_distance(driven, rays)[:, None]
    point = (rays.origin + distance * rays.direction)[:, :2]
    if driven.torso_deformation is not None:
        torso = (rays.torso_origin + distance * rays.torso_direction)[:, :2]
        weight = driven.torso_deformation.initial_weight(torso[:, 1])
        point = torch.lerp(point, torso, weight[:, None])
    cell = (point / driven.field.extent * 0.5 + 0.5) * MAP_NODES
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


def on_person(
    person_map: Bool[Tensor, "nodes nodes"], driven: DrivenField, rays: RayBundle
) -> Bool[Tensor, " rays"]:
    """Say which rays may show the person; all of them where there is no rest surface to ask."""
    if not isinstance(driven, DrivenPlanes):
        return torch.ones(len(rays), dtype=torch.bool)
    cell = canonical_nodes(driven, rays).long()
    return person_map[cell[:, 1], cell[:, 0]]
