"""Small driven fields for tests: an untrained one, and analytic ones that need no learning."""

from dataclasses import replace

import torch

from sspnerf.config import PRESETS, BandConfig, FieldConfig, TrainConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_planes import Answer, DrivenPlanes
from sspnerf.fields.portrait_field import FieldOutput

FEATURE_DIM, WINDOW = 80, 32
SMALL = replace(
    PRESETS["fast"],
    field=FieldConfig(resolutions=(4, 9), features=2, hidden=16, extent=24.0),
    band=BandConfig(samples=4, render_samples=4, front=2.0, back=3.0),
)


def untrained(config: TrainConfig = SMALL, *, seed: int = 0, scale: float = 1.0) -> DrivenPlanes:
    """A real field with random weights; `scale` makes the grids speak up."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        driven = DrivenPlanes(
            config, feature_dim=FEATURE_DIM, window=WINDOW, classes=SEMANTIC_CLASSES
        )
        with torch.no_grad():
            driven.field.table.mul_(scale)
    return driven


def no_drive(frames: int = 1) -> Drive:
    return driven_by(torch.zeros(frames, condition_dim(SMALL)))


def driven_by(condition: torch.Tensor, difference: torch.Tensor | None = None) -> Drive:
    """A head that looks at the camera at the clip's start."""
    still = torch.zeros(len(condition), 6)
    return Drive(
        condition, still if difference is None else difference, still, torch.zeros(len(condition))
    )


def condition_dim(config: TrainConfig) -> int:
    return config.field.speech_dim + config.field.upper_face_dim


class BallField(DrivenPlanes):
    """A ball of skin around the origin of head space, of one density and one color.

    Its rest surface is the plane z = 0, and the band reaches past the ball on both sides.
    """

    color = (0.9, 0.5, 0.2)

    def __init__(self, *, radius: float = 6.0, density: float = 40.0) -> None:
        self.radius, self.density = radius, density
        self.asked: list[torch.Tensor] = []
        band = BandConfig(samples=96, render_samples=96, front=radius + 1, back=radius + 1)
        config = replace(SMALL, torso_deformation=False, band=band)
        super().__init__(config, feature_dim=FEATURE_DIM, window=WINDOW, classes=SEMANTIC_CLASSES)

    def forward(self, head_position, torso_position, drive, *, parse=True):  # noqa: D102
        self.asked.append(head_position)
        inside = head_position.norm(dim=-1) < self.radius
        logits = torch.zeros(len(head_position), SEMANTIC_CLASSES)
        logits[:, SemanticClass.SKIN] = 10.0
        logits = logits if parse else logits[:, :0]
        output = FieldOutput(
            inside * self.density, torch.tensor(self.color).expand(len(inside), 3), logits
        )
        still = torch.zeros_like(head_position)
        return Answer(output, still, still)


class ConditionField(BallField):
    """A ball whose color is the first three numbers of the condition."""

    def forward(self, head_position, torso_position, drive, *, parse=True):  # noqa: D102
        answer = super().forward(head_position, torso_position, drive, parse=parse)
        return answer._replace(
            output=answer.output._replace(color=drive.per_point().condition[:, :3])
        )
