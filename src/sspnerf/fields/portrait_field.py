"""The radiance field of preset `fast`: position, condition -> density, color, semantic logits."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sspnerf.config import FieldConfig
from sspnerf.geometry.rest_surface import SURFACE_NODES
from sspnerf.ops.backend import field_dtype
from sspnerf.ops.field_inputs import SURFACE_FEATURES, Reach, RestSurface, join_inputs
from sspnerf.ops.gradients import scale_gradient
from sspnerf.ops.plane_grid import lookup_planes, table_size

# A density that starts high makes a curtain at the near plane; e^-1 per cm is a thin mist.
DENSITY_SHIFT = -1.0
DENSITY_LOG_MAX = 8.0
# The rest surface pulls on what is up to so far before or behind it, cm.
PULL_CM = 2.0
GEOMETRY_FEATURES = 16
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
            encoded + surface + condition_dim, classes, hidden=config.hidden // 2, layers=1
        )
        self.register_buffer("surface", torch.zeros(SURFACE_NODES, SURFACE_NODES))
        self.register_buffer("regions", torch.zeros(REGION_NODES, REGION_NODES, classes))
        self.register_buffer("nose_height", torch.tensor(0.0))
        self.register_buffer("neck_height", torch.tensor(-11.0))

    def body_weight(self, height: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
        """Say how far points belong to the body, by their height y, cm; in [0, 1]."""
        return torch.sigmoid((self.neck_height - height) / NECK_SOFTNESS_CM)

    @property
    def reach(self) -> Reach:
        """Up to where the condition reaches this person."""
        nose = float(self.nose_height)
        return Reach(
            self.config.speech_dim,
            below=nose + SPEECH_BELOW_CM,
            above=nose + UPPER_FACE_ABOVE_CM,
            softness=REGION_SOFTNESS_CM,
        )

    @property
    def rest_surface(self) -> RestSurface | None:
        """What the networks are told of the rest surface."""
        if not self.rough_mesh:
            return None
        return RestSurface(self.surface, self.regions, self.extent)

    def _expected(self, seen: Tensor, torso_weight: Tensor) -> Tensor | float:
        """Say how much denser (natural log) than elsewhere a point of the head is expected to be.

        The torso's surface is only a guess: held to it, the torso lost 0.8 dB.
        """
        if not self.rough_mesh:
            return 0.0
        above = 4 * seen[:, -(SURFACE_FEATURES + self.regions.shape[2])].detach().float()
        pull = self.config.surface_pull * (1 - torso_weight.detach())
        return -pull * above.clamp(-PULL_CM, PULL_CM)

    def forward(
        self,
        position: Float[Tensor, "points 3"],
        condition: Float[Tensor, "frames condition_dim"],
        torso_weight: Float[Tensor, " points"],
        row: Int[Tensor, " points"] | None = None,
        *,
        parse: bool = True,
    ) -> FieldOutput:
        """Ask the field.

        Args:
            position: Canonical positions, cm. Shape (points, 3).
            condition: What drives each frame. Shape (frames, condition_dim).
            torso_weight: How far a point belongs to the torso, which does not listen.
                Shape (points,).
            row: Frame of each point; None: each has a row of its own. Shape (points,).
            parse: Whether the logits are wanted; without, there are none: shape (points, 0).

        Returns:
            Density, color and semantic logits.
        """
        if row is None:
            row = torch.arange(len(position), device=position.device)
        device = position.device
        number_type = field_dtype(device)
        encoded = lookup_planes(
            self.table,
            position / self.extent,
            resolutions=self.config.resolutions,
            features=self.config.features,
            dtype=number_type,
        )
        with torch.autocast(device.type, number_type, enabled=number_type != torch.float32):
            seen = join_inputs(
                encoded, self.gate_net(encoded), condition, row=row, torso_weight=torso_weight,
                position=position, reach=self.reach, surface=self.rest_surface,
            )  # fmt: skip
            out = self.density_net(seen)
            color = self.color_net(out[:, 1:])
            logits = color[:, :0]
            if parse:
                logits = self.semantic_net(scale_gradient(seen, self.config.semantic_share))
        log_density = out[:, 0].float() + self._expected(seen, torso_weight)
        density = torch.exp(log_density.clamp(max=DENSITY_LOG_MAX) + DENSITY_SHIFT)
        return FieldOutput(density, torch.sigmoid(color.float()), logits.float())
