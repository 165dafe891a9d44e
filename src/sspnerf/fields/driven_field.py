"""A field together with everything that drives it; each architecture is one subclass."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.config import TrainConfig
from sspnerf.fields.conditioning import SpeechEncoder, UpperFaceEncoder
from sspnerf.fields.deformation_network import pose_vector
from sspnerf.fields.drive import Drive
from sspnerf.fields.torso import Canonical, Deformed, TorsoDeformation, pose_difference

# The neck bends about this far below the chin, cm.
NECK_BELOW_CHIN_CM = 2.0


def neck_height(vertices: Float[Tensor, "vertices 3"]) -> Float[Tensor, ""]:
    """Return the height at which the neck bends, y, cm."""
    return vertices[:, 1].min() - NECK_BELOW_CHIN_CM


class DrivenField(nn.Module):
    """Base of all architectures: what is heard and seen becomes the condition."""

    def __init__(self, config: TrainConfig, *, feature_dim: int, window: int) -> None:
        """Build the encoders.

        Args:
            config: All settings of the training.
            feature_dim: Width of the speech features.
            window: Speech features in one window.
        """
        super().__init__()
        self.config = config
        speech_dim, upper_face_dim = config.field.speech_dim, config.field.upper_face_dim
        self.condition_dim = speech_dim + upper_face_dim
        self.speech_encoder = SpeechEncoder(
            feature_dim, window, speech_dim=speech_dim, config=config.speech
        )
        self.upper_face_encoder = (
            UpperFaceEncoder(upper_face_dim=upper_face_dim) if upper_face_dim else None
        )
        self.torso_deformation = (
            TorsoDeformation(config.deformation) if config.torso_deformation else None
        )

    @property
    def ray_samples(self) -> int:
        """How often a field is asked along one ray, at most."""
        return self.config.volume.coarse + self.config.volume.fine

    def grids(self) -> list[nn.Parameter]:
        """Return the parameters that learn at the grids' rate; all others are networks."""
        return []

    def place(self, vertices: Float[Tensor, "vertices 3"], canonical: Canonical) -> None:
        """Fit the parts to the person.

        Args:
            vertices: The person's mesh, world, cm; its foremost point is the nose's tip.
            canonical: The reference frame.
        """
        if self.torso_deformation is not None:
            self.torso_deformation.place(neck_height(vertices), canonical)

    def drive(
        self,
        speech: Float[Tensor, "frames speech_dim"],
        blendshapes: Float[Tensor, "frames 52"],
        *,
        poses: Float[Tensor, "frames 4 4"],
        torso_poses: Float[Tensor, "frames 4 4"],
        time: Float[Tensor, " frames"],
    ) -> Drive:
        """Encode what drives each frame; once per frame, not per ray.

        Args:
            speech: What `speech_encoder` heard around each frame. Shape (frames, speech_dim).
            blendshapes: Blendshape weights. Shape (frames, 52).
            poses: camera_to_world. Shape (frames, 4, 4).
            torso_poses: camera_to_world with the torso held still. Shape (frames, 4, 4).
            time: When in the clip each frame is, [0, 1]. Shape (frames,).
        """
        condition = speech
        if self.upper_face_encoder is not None:
            condition = torch.cat((speech, self.upper_face_encoder(blendshapes)), dim=-1)
        poses = poses.detach()
        return Drive(condition, pose_difference(poses, torso_poses), pose_vector(poses), time)

    def deform(
        self,
        head_position: Float[Tensor, "points 3"],
        torso_position: Float[Tensor, "points 3"],
        drive: Drive,
    ) -> Deformed:
        """Find where sample points come from.

        Args:
            head_position: The points if they belong to the head, cm. Shape (points, 3).
            torso_position: The points if they belong to the torso, cm. Shape (points, 3).
            drive: Of each point's frame, one row per point.
        """
        if self.torso_deformation is None:
            still = torch.zeros_like(head_position)
            return Deformed(head_position, still[:, 0], still)
        deformed: Deformed = self.torso_deformation(head_position, torso_position, drive)
        return deformed
