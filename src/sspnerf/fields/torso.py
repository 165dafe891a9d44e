"""Torso deformation: where a point of the picture comes from.

Two rigid bones, the head and the torso, each with its own tracked pose, blended by a learned weight
around the neck; on top a small residual, the deformation network of the paper, that starts at zero.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.geometry.rotations import invert_rigid, vector_from_rotation

# The blend starts out as a step of this softness at the neck's height, cm.
NECK_SOFTNESS_CM = 1.0
# Brings positions (cm) and poses (radians, cm) to about 1.
POSITION_SCALE = 1 / 15
ROTATION_SCALE = 5.0
SHIFT_SCALE = 0.5


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


class TorsoDeformation(nn.Module):
    """Blend the two bones' positions of a sample point into its canonical position.

    Source: the torso deformation module of Liu et al. 2022 (arXiv:2201.07786):
    MLP(x, t, p_h(t), p_c) -> offset. Differs in: rigid bones carry most of the motion, the residual
    sees x and the pose difference; sizes are ours (the paper's are not known).
    """

    neck_height: Tensor

    def __init__(self, *, hidden: int = 32) -> None:
        """Build the network; its output is zero at first."""
        super().__init__()
        self.hidden_layers = nn.Sequential(
            nn.Linear(9, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.out = nn.Linear(hidden, 4)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("neck_height", torch.tensor(-11.0))

    def initial_weight(self, height: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """Return the torso weight before any learning, from the height y in torso space, cm."""
        return torch.sigmoid(self._bias(height))

    def _bias(self, height: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        return (self.neck_height - height) / NECK_SOFTNESS_CM

    def forward(
        self,
        head_position: Float[Tensor, "points 3"],
        torso_position: Float[Tensor, "points 3"],
        difference: Float[Tensor, "points 6"],
    ) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Find canonical positions.

        Args:
            head_position: The points if they belong to the head, cm. Shape (points, 3).
            torso_position: The points if they belong to the torso, cm. Shape (points, 3).
            difference: `pose_difference` of each point's frame. Shape (points, 6).

        Returns:
            Canonical positions (points, 3), cm; torso weights (points,), [0, 1]; and the residual
            offsets (points, 3), cm, for a regulariser.
        """
        scaled = torch.cat((torso_position * POSITION_SCALE, difference), dim=-1)
        out = self.out(self.hidden_layers(scaled)).float()
        weight = torch.sigmoid(out[:, 0] + self._bias(torso_position[:, 1]))
        residual = weight[:, None] * out[:, 1:]
        blended = torch.lerp(head_position, torso_position, weight[:, None])
        return blended + residual, weight, residual
