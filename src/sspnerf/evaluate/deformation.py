"""The torso deformation against its truth: where each point of the body came from.

Only synthetic clips know: `truth/canonical` and `truth/distance` (docs/synth.md).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.data.clip import Clip
from sspnerf.data.semantics import BODY_CLASSES
from sspnerf.fields.drive import Drive
from sspnerf.geometry.cameras import pixel_centers
from sspnerf.geometry.rays import cast_rays
from sspnerf.render.portrait import Portrait


class DeformationError(NamedTuple):
    """How well neck and torso are put back to where they came from."""

    error: float
    """Median distance from the true canonical position, cm; lower is better."""
    motion: float
    """Median distance of the same points if they were taken for parts of the head, cm."""

    @property
    def share(self) -> float:
        """What the deformation leaves of the body's own motion; 1: nothing is gained."""
        return self.error / max(self.motion, 1e-9)


@torch.no_grad()
def deformation_error(
    portrait: Portrait, clip: Clip, frames: Iterable[int]
) -> DeformationError | None:
    """Compare where the deformation puts the visible points of neck and torso with the truth.

    Args:
        portrait: Of any architecture with one field.
        clip: A synthetic clip.
        frames: Which of its frames.

    Returns:
        Medians over all points; None if the clip has no truth or no body is seen.
    """
    if not clip.has_truth("canonical"):
        return None
    left, moved = [], []
    for frame in frames:
        body = np.flatnonzero(np.isin(clip.labels[frame], BODY_CLASSES))
        truth = torch.from_numpy(np.array(clip.truth("canonical")[frame]).reshape(-1, 3)[body])
        distance = np.array(clip.truth("distance")[frame]).reshape(-1)[body]
        head, found = _positions(portrait, frame, body=torch.from_numpy(body), distance=distance)
        left.append((found - truth).norm(dim=-1))
        moved.append((head - truth).norm(dim=-1))
    if not sum(map(len, left)):
        return None
    return DeformationError(float(torch.cat(left).median()), float(torch.cat(moved).median()))


def _positions(
    portrait: Portrait, frame: int, *, body: Tensor, distance: np.ndarray
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3"]]:
    """Return visible points as the head sees them, and where the deformation puts them."""
    info, one = portrait.info, slice(frame, frame + 1)
    pose, torso_pose = portrait.poses[one], portrait.torso_poses[one]
    rays = cast_rays(
        info.intrinsics,
        pixel_centers(info.width, info.height)[body],
        poses=pose,
        torso_poses=torso_pose,
        slot=torch.zeros(len(body), dtype=torch.long),
    )
    drive: Drive = portrait.driven.drive(
        torch.zeros(1, portrait.driven.config.field.speech_dim),
        portrait.blendshapes[one],
        poses=pose,
        torso_poses=torso_pose,
        time=torch.tensor([portrait.time(frame)]),
    )
    t = torch.from_numpy(distance)[:, None]
    head = rays.origin + t * rays.direction
    torso = rays.torso_origin + t * rays.torso_direction
    return head, portrait.driven.deform(head, torso, drive.of_points(rays.slot, 1)).position
