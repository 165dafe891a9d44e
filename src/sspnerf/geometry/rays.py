"""Rays, as the head and as the torso see them.

Head and torso are two rigid bones. A point of the picture at distance t lies at
origin + t * direction in head space if it belongs to the head, and at
torso_origin + t * torso_direction if it belongs to the torso; t is the same, as both are rigid.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sspnerf.geometry.cameras import pixel_directions
from sspnerf.geometry.intrinsics import Intrinsics


@dataclass(frozen=True, kw_only=True)
class RayBundle:
    """Many rays of one or more frames."""

    origin: Float[Tensor, "rays 3"]
    """Where rays start, head space, cm."""
    direction: Float[Tensor, "rays 3"]
    """Unit vectors in head space."""
    torso_origin: Float[Tensor, "rays 3"]
    """The same start with the torso held still, cm."""
    torso_direction: Float[Tensor, "rays 3"]
    """The same direction with the torso held still."""
    slot: Int[Tensor, " rays"]
    """Which row of the batch's conditions drives each ray."""

    def __len__(self) -> int:
        """Count the rays."""
        return len(self.slot)

    def select(self, which: Tensor | slice) -> "RayBundle":
        """Return some of the rays, by index or by range."""
        return RayBundle(
            origin=self.origin[which],
            direction=self.direction[which],
            torso_origin=self.torso_origin[which],
            torso_direction=self.torso_direction[which],
            slot=self.slot[which],
        )


def cast_rays(
    intrinsics: Intrinsics,
    pixels: Float[Tensor, "rays 2"],
    *,
    poses: Float[Tensor, "slots 4 4"],
    torso_poses: Float[Tensor, "slots 4 4"],
    slot: Int[Tensor, " rays"],
) -> RayBundle:
    """Send rays through pixels of several frames.

    Args:
        intrinsics: The camera of all frames.
        pixels: Continuous coordinates x, y, px. Shape (rays, 2).
        poses: camera_to_world of each frame. Shape (slots, 4, 4).
        torso_poses: camera_to_world of each frame with the torso held still. Shape (slots, 4, 4).
        slot: Which frame each ray belongs to. Shape (rays,).

    Returns:
        The rays; differentiable in the poses.
    """
    in_camera = pixel_directions(intrinsics, pixels)[..., None]
    head, torso = poses[slot], torso_poses[slot]
    return RayBundle(
        origin=head[:, :3, 3],
        direction=(head[:, :3, :3] @ in_camera)[..., 0],
        torso_origin=torso[:, :3, 3],
        torso_direction=(torso[:, :3, :3] @ in_camera)[..., 0],
        slot=slot,
    )


def points_along(
    origin: Float[Tensor, "rays 3"],
    direction: Float[Tensor, "rays 3"],
    distance: Float[Tensor, "rays samples"],
) -> Float[Tensor, "rays samples 3"]:
    """Walk along rays.

    Example:
        >>> start, right = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])
        >>> points_along(start, right, torch.tensor([[2.0]]))
        tensor([[[2., 0., 0.]]])
    """
    return torch.addcmul(origin[:, None], distance[..., None], direction[:, None])
