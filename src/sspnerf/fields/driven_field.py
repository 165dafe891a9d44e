"""The field together with everything that drives it: speech, upper face, torso deformation."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.config import TrainConfig
from sspnerf.fields.conditioning import SpeechEncoder, UpperFaceEncoder
from sspnerf.fields.portrait_field import FieldOutput, PortraitField
from sspnerf.fields.torso import TorsoDeformation, pose_difference
from sspnerf.ops.backend import field_dtype

# The neck bends about this far below the chin, cm.
NECK_BELOW_CHIN_CM = 2.0


class Drive(NamedTuple):
    """What drives each of a batch's frames."""

    condition: Tensor
    """Speech and upper face. Shape (frames, condition_dim)."""
    difference: Tensor
    """`pose_difference`. Shape (frames, 6)."""


class DrivenField(nn.Module):
    """All learned parts of a portrait."""

    def __init__(self, config: TrainConfig, *, feature_dim: int, window: int, classes: int) -> None:
        """Build the parts that the settings ask for.

        Args:
            config: All settings of the training.
            feature_dim: Width of the speech features.
            window: Speech features in one window.
            classes: Semantic classes.
        """
        super().__init__()
        self.config = config
        field = config.field
        self.speech_encoder = SpeechEncoder(feature_dim, window, speech_dim=field.speech_dim)
        self.upper_face_encoder = UpperFaceEncoder(upper_face_dim=field.upper_face_dim)
        self.torso_deformation = TorsoDeformation() if config.torso_deformation else None
        self.field = PortraitField(field, classes=classes, rough_mesh=config.rough_mesh)

    def place(
        self, surface: Float[Tensor, "nodes nodes"], vertices: Float[Tensor, "vertices 3"]
    ) -> None:
        """Fit the parts to the person: the rest surface, the face's regions, where the neck bends.

        Args:
            surface: `rest_surface` of the person's mesh.
            vertices: The mesh's vertices, world, cm; its foremost point is the nose's tip.
        """
        self.field.surface.copy_(surface)
        self.field.nose_height.copy_(vertices[vertices[:, 2].argmax(), 1])
        if self.torso_deformation is not None:
            self.torso_deformation.neck_height.copy_(vertices[:, 1].min() - NECK_BELOW_CHIN_CM)

    def drive(
        self,
        speech: Float[Tensor, "frames speech_dim"],
        blendshapes: Float[Tensor, "frames 52"],
        *,
        poses: Float[Tensor, "frames 4 4"],
        torso_poses: Float[Tensor, "frames 4 4"],
    ) -> Drive:
        """Encode what drives each frame; once per frame, not per ray.

        Args:
            speech: What `speech_encoder` heard around each frame. Shape (frames, speech_dim).
            blendshapes: Blendshape weights. Shape (frames, 52).
            poses: camera_to_world. Shape (frames, 4, 4).
            torso_poses: camera_to_world with the torso held still. Shape (frames, 4, 4).
        """
        condition = torch.cat((speech, self.upper_face_encoder(blendshapes)), dim=-1)
        return Drive(condition, pose_difference(poses, torso_poses).detach())

    def forward(
        self,
        head_position: Float[Tensor, "points 3"],
        torso_position: Float[Tensor, "points 3"],
        condition: Float[Tensor, "points condition_dim"],
        difference: Float[Tensor, "points 6"],
    ) -> tuple[FieldOutput, Float[Tensor, "points 3"]]:
        """Ask the field at sample points.

        Args:
            head_position: The points if they belong to the head, cm. Shape (points, 3).
            torso_position: The points if they belong to the torso, cm. Shape (points, 3).
            condition: Of each point's frame. Shape (points, condition_dim).
            difference: Of each point's frame. Shape (points, 6).

        Returns:
            What is there; and the deformation's residual (points, 3), cm, for its regulariser.
        """
        if self.torso_deformation is None:
            weight = torch.zeros_like(head_position[:, 0])
            return self.field(head_position, condition, weight), torch.zeros_like(head_position)
        number_type = field_dtype(head_position.device)
        with torch.autocast(
            head_position.device.type, number_type, enabled=number_type != torch.float32
        ):
            position, weight, residual = self.torso_deformation(
                head_position, torso_position, difference
            )
        return self.field(position, condition, weight), residual
