"""Torso deformation: where a point of the picture comes from.

Two rigid bones, the head and the torso, each with its own tracked pose, blended by a learned weight
around the neck; on top a small residual that starts at zero. Or, without bones, the deformation
network of the paper.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.config import DeformationConfig
from sspnerf.fields.deformation_network import DeformationNetwork, pose_vector
from sspnerf.fields.drive import Drive
from sspnerf.fields.portrait_field import NECK_SOFTNESS_CM
from sspnerf.geometry.rotations import invert_rigid, vector_from_rotation
from sspnerf.ops.backend import field_dtype
from sspnerf.ops.bones import blend_bones

# Brings positions (cm) and poses (radians, cm) to about 1.
POSITION_SCALE = 1 / 15
ROTATION_SCALE = 5.0
SHIFT_SCALE = 0.5
RESIDUAL_HIDDEN = 32


def pose_difference(
    poses: Float[Tensor, "frames 4 4"], torso_poses: Float[Tensor, "frames 4 4"]
) -> Float[Tensor, "frames 6"]:
    """Describe how the head stands against the torso, relative to the reference frame.

    This is what p_h(t) and p_c of the paper say together: zero where both poses agree.

    Args:
        poses: camera_to_world. Shape (frames, 4, 4).
        torso_poses: camera_to_world with the torso held still. Shape (frames, 4, 4).

    Returns:
        Rotation vector and shift of head space seen from the torso, scaled to about 1.
        Shape (frames, 6).
    """
    head_to_torso = torso_poses @ invert_rigid(poses)
    rotation = vector_from_rotation(head_to_torso[:, :3, :3])
    return torch.cat((ROTATION_SCALE * rotation, SHIFT_SCALE * head_to_torso[:, :3, 3]), dim=-1)


class Canonical(NamedTuple):
    """The reference frame, in which head and torso rest: what the paper calls p_c."""

    pose: Tensor
    """camera_to_world. Shape (4, 4)."""
    time: float
    """When in the clip, [0, 1]."""


class Deformed(NamedTuple):
    """Where points come from."""

    position: Tensor
    """Canonical positions, cm. Shape (points, 3)."""
    torso_weight: Tensor
    """How far each point belongs to the torso, [0, 1]. Shape (points,)."""
    residual: Tensor
    """What the network adds to the bones, or all of its offset, cm. Shape (points, 3)."""


class TorsoDeformation(nn.Module):
    """Find the canonical position of sample points.

    Source: the torso deformation module of Liu et al. 2022 (arXiv:2201.07786):
    MLP(x, t, p_h(t), p_c) -> offset. Form `network` is that. Forms `both` and `bones` differ in:
    rigid bones carry most of the motion; the residual sees x and the pose difference, and is zero
    where that is zero; sizes are ours (the paper's are not known).
    """

    neck_height: Tensor

    def __init__(self, config: DeformationConfig) -> None:
        """Build the networks of the form that is asked for; residuals are zero at first."""
        super().__init__()
        self.form = config.form
        self.register_buffer("neck_height", torch.tensor(-11.0))
        if config.form == "network":
            self.network = DeformationNetwork(
                hidden=config.hidden,
                layers=config.layers,
                position_bands=config.position_bands,
                pose_bands=config.pose_bands,
                time_bands=config.time_bands,
            )
            return
        self.hidden_layers = nn.Sequential(
            nn.Linear(9, RESIDUAL_HIDDEN),
            nn.ReLU(),
            nn.Linear(RESIDUAL_HIDDEN, RESIDUAL_HIDDEN),
            nn.ReLU(),
        )
        self.out = nn.Linear(RESIDUAL_HIDDEN, 1 + (18 if config.form == "both" else 0))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def place(self, neck_height: Float[Tensor, ""], canonical: Canonical) -> None:
        """Say where the person's neck bends, cm, and which frame is the canonical one."""
        self.neck_height.copy_(neck_height)
        if self.form == "network":
            self.network.canonical_pose.copy_(pose_vector(canonical.pose[None])[0])
            self.network.canonical_time.fill_(canonical.time)

    def initial_weight(self, height: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """Return the torso weight before any learning, from the height y in torso space, cm."""
        return torch.sigmoid(self._bias(height))

    def _bias(self, height: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        return (self.neck_height - height) / NECK_SOFTNESS_CM

    def forward(
        self,
        head_position: Float[Tensor, "points 3"],
        torso_position: Float[Tensor, "points 3"],
        drive: Drive,
    ) -> Deformed:
        """Find canonical positions.

        Args:
            head_position: The points if they belong to the head, cm. Shape (points, 3).
            torso_position: The points if they belong to the torso, cm. Shape (points, 3).
            drive: Of each point's frame, one row per point.
        """
        if self.form == "network":
            drive = drive.per_point()
            offset = self.network(head_position, drive.time, drive.pose)
            weight = self.initial_weight(head_position[:, 1].detach())
            return Deformed(head_position + offset, weight, offset)
        device, row = head_position.device, drive.row
        if row is None:
            row = torch.arange(len(head_position), device=device)
        number_type = field_dtype(device)
        with torch.autocast(device.type, number_type, enabled=number_type != torch.float32):
            difference = drive.difference.to(number_type)[row]
            scaled = (torso_position * POSITION_SCALE).to(number_type)
            told = self.out(self.hidden_layers(torch.cat((scaled, difference), dim=-1)))
        # The residual is linear in the pose difference: where head and torso agree nothing is
        # moved. A free offset drifts, since the field can follow it, and points end up further off
        # than without it.
        return Deformed(
            *blend_bones(
                told, head_position, torso_position, difference=drive.difference, row=row,
                neck_height=float(self.neck_height), softness=NECK_SOFTNESS_CM,
            )
        )  # fmt: skip
