"""Architecture `head-and-torso` (preset `adnerf`): the baseline, two fields one after the other.

First the head is learned over the plate; then the torso, seen from one fixed camera and told the
head's pose, while the head rests. What the torso lets through shows the head.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.config import TrainConfig
from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.driven_perceptrons import build_perceptron
from sspnerf.fields.encodings import encoded_width, frequency_encoding

POSE_BANDS = 3


class HeadAndTorso(DrivenField):
    """Coarse and fine fields of the head, and of the torso.

    Source: Guo et al. 2021 (arXiv:2103.11078).

    Attributes:
        learns_torso: Whether the head's stage of the training is over.
    """

    learns_torso: Tensor

    def __init__(self, config: TrainConfig, *, feature_dim: int, window: int) -> None:
        """Build the fields; arguments as of `DrivenField`."""
        super().__init__(config, feature_dim=feature_dim, window=window)
        dim = self.condition_dim
        torso_dim = dim + encoded_width(6, bands=POSE_BANDS)
        perceptron = config.perceptron
        self.head_coarse, self.head_fine = (
            build_perceptron(perceptron, condition_dim=dim, classes=None) for _ in range(2)
        )
        self.torso_coarse, self.torso_fine = (
            build_perceptron(perceptron, condition_dim=torso_dim, classes=None) for _ in range(2)
        )
        self.register_buffer("learns_torso", torch.tensor(False))

    def torso_condition(self, drive: Drive) -> Float[Tensor, "points torso_condition_dim"]:
        """Say what drives the torso: speech, and where the head is."""
        return torch.cat((drive.condition, frequency_encoding(drive.pose, bands=POSE_BANDS)), -1)

    def rest_head(self) -> None:
        """From now on the torso learns, and only the torso."""
        self.learns_torso.fill_(True)
        for part in (
            self.head_coarse, self.head_fine, self.speech_encoder, self.upper_face_encoder
        ):  # fmt: skip
            if part is not None:
                part.requires_grad_(False)
