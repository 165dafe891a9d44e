"""The radiance field of preset `fast`: position, condition -> density, color, semantic logits."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.config import FieldConfig
from sspnerf.geometry.rest_surface import SURFACE_NODES, surface_height
from sspnerf.ops.backend import field_dtype
from sspnerf.ops.gradients import scale_gradient
from sspnerf.ops.plane_grid import lookup_planes, table_size

# A density that starts high makes a curtain at the near plane; e^-1 per cm is a thin mist.
DENSITY_SHIFT = -1.0
DENSITY_LOG_MAX = 8.0
GEOMETRY_FEATURES = 16
SURFACE_FEATURES = 3
# Nodes along each side of the map of the face's regions.
REGION_NODES = 128
GRID_INIT = 0.01
# Speech moves what lies below this height above the nose's tip, the upper face's blendshapes what
# lies above the other, each fading over a length; all cm. Around the lower lids both do.
SPEECH_BELOW_CM = 2.0
UPPER_FACE_ABOVE_CM = 1.0
REGION_SOFTNESS_CM = 0.4
# Head and body fade into each other over this length, cm.
NECK_SOFTNESS_CM = 1.0


class FieldOutput(NamedTuple):
    """What is at each point."""

    density: Tensor
    """Absorption per cm, >= 0, float32. Shape (points,)."""
    color: Tensor
    """RGB in [0, 1], float32. Shape (points, 3)."""
    logits: Tensor
    """Semantic logits, float32. Shape (points, classes)."""


def perceptron(inputs: int, outputs: int, *, hidden: int, layers: int) -> nn.Sequential:
    """Build a multi-layer perceptron with `layers` hidden layers."""
    stack: list[nn.Module] = []
    for _ in range(layers):
        stack += [nn.Linear(inputs, hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*stack, nn.Linear(inputs, outputs))


class PortraitField(nn.Module):
    """Plane grids read by small networks; the condition enters where the field lets it.

    The rest surface (the rough mesh, continued) tells each point how far in front of or behind the
    face it lies, and which region of the person it is near: the cheap form of the paper's latent
    code f.

    Source: F(x, d, a, f) of Liu et al. 2022 (arXiv:2201.07786). Differs in: plane grids instead of
        an 8x256 perceptron; no view direction, as a talking head turns little; a learned gate per
        point on the condition (as in Li et al. 2023, arXiv:2307.09323); the semantic branch has
        layers of its own and passes back only a share of its gradient: on 16 shared features, as
        the color, it cost the picture 0.9 dB (docs/ablation.md).
    """

    surface: Tensor
    regions: Tensor
    nose_height: Tensor
    neck_height: Tensor

    def __init__(self, config: FieldConfig, *, classes: int, rough_mesh: bool) -> None:
        """Build grids and networks for a number of semantic classes."""
        super().__init__()
        if config.extent is None:
            raise ValueError("field.extent is not set; fit it to the clip first")
        self.config = config
        self.extent = config.extent
        self.rough_mesh = rough_mesh
        table = torch.empty(table_size(config.resolutions, config.features))
        self.table = nn.Parameter(nn.init.uniform_(table, -GRID_INIT, GRID_INIT))
        encoded = 3 * len(config.resolutions) * config.features
        surface = (SURFACE_FEATURES + classes) * rough_mesh
        condition_dim = config.speech_dim + config.upper_face_dim
        self.gate_net = perceptron(encoded, condition_dim, hidden=config.hidden // 2, layers=1)
        self.density_net = perceptron(
            encoded + surface + condition_dim, 1 + GEOMETRY_FEATURES, hidden=config.hidden, layers=2
        )
        self.color_net = perceptron(GEOMETRY_FEATURES, 3, hidden=config.hidden // 2, layers=1)
        self.semantic_net = perceptron(
            encoded + surface + condition_dim, classes, hidden=config.hidden, layers=2
        )
        self.register_buffer("surface", torch.zeros(SURFACE_NODES, SURFACE_NODES))
        self.register_buffer("regions", torch.zeros(classes, REGION_NODES, REGION_NODES))
        self.register_buffer("nose_height", torch.tensor(0.0))
        self.register_buffer("neck_height", torch.tensor(-11.0))

    def body_weight(self, height: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
        """Say how far points belong to the body, by their height y, cm; in [0, 1]."""
        return torch.sigmoid((self.neck_height - height) / NECK_SOFTNESS_CM)

    def region_weights(self, height: Float[Tensor, " points"]) -> Float[Tensor, "points 2"]:
        """Say how far speech and the upper face's blendshapes reach points, by their height.

        Without this the field learns a short clip by heart: blinks and brows single out each
        training frame, and the mouth listens to them instead of to the sound.

        Args:
            height: Canonical y, cm. Shape (points,).

        Returns:
            In [0, 1]: speech, upper face. Shape (points, 2).
        """
        above = height - self.nose_height
        speech = torch.sigmoid((SPEECH_BELOW_CM - above) / REGION_SOFTNESS_CM)
        upper = torch.sigmoid((above - UPPER_FACE_ABOVE_CM) / REGION_SOFTNESS_CM)
        return torch.stack((speech, upper), dim=-1)

    def _heard(self, encoded: Tensor, condition: Tensor, reach: Tensor) -> Tensor:
        """Let through what reaches each point: by its region, and by the learned gate."""
        widths = [self.config.speech_dim, self.config.upper_face_dim]
        gate = torch.split(torch.sigmoid(self.gate_net(encoded)), widths, dim=-1)
        parts = torch.split(condition.to(encoded.dtype), widths, dim=-1)
        weights = torch.split(reach.to(encoded.dtype), 1, dim=-1)
        heard = [p * w * g for p, w, g in zip(parts, weights, gate, strict=True)]
        return torch.cat(heard, dim=-1)

    def surface_features(
        self, position: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points features"]:
        """Say where points lie against the rest surface, on three scales, and near what region.

        The region is the share of each class among the training frames' labels at the same x and y
        of the rest surface.
        """
        height = surface_height(self.surface, position[:, 0], position[:, 1], extent=self.extent)
        above = position[:, 2] - height
        near = torch.stack((above / 4, torch.tanh(above), torch.exp(-above.square())), dim=-1)
        grid = (position[:, :2] / self.extent).reshape(1, -1, 1, 2)
        share = torch.nn.functional.grid_sample(self.regions[None], grid, align_corners=False)
        return torch.cat((near, share[0, :, :, 0].T), dim=-1)

    def forward(
        self,
        position: Float[Tensor, "points 3"],
        condition: Float[Tensor, "points condition_dim"],
        torso_weight: Float[Tensor, " points"],
    ) -> FieldOutput:
        """Ask the field.

        Args:
            position: Canonical positions, cm. Shape (points, 3).
            condition: What drives each point. Shape (points, condition_dim).
            torso_weight: How far a point belongs to the torso, which does not listen.
                Shape (points,).

        Returns:
            Density, color and semantic logits.
        """
        scaled = position / self.extent
        encoded = lookup_planes(
            self.table, scaled, resolutions=self.config.resolutions, features=self.config.features
        )
        device = position.device
        number_type = field_dtype(device)
        with torch.autocast(device.type, number_type, enabled=number_type != torch.float32):
            encoded = encoded.to(number_type)
            reach = self.region_weights(position[:, 1].detach()) * (1 - torso_weight)[:, None]
            inputs = [encoded, self._heard(encoded, condition, reach)]
            if self.rough_mesh:
                # Where the samples lie is not to be learned through this hint.
                inputs.append(self.surface_features(position.detach()).to(number_type))
            seen = torch.cat(inputs, dim=-1)
            out = self.density_net(seen)
            color = self.color_net(out[:, 1:])
            logits = self.semantic_net(scale_gradient(seen, self.config.semantic_share))
        density = torch.exp(out[:, 0].float().clamp(max=DENSITY_LOG_MAX) + DENSITY_SHIFT)
        return FieldOutput(density, torch.sigmoid(color.float()), logits.float())
