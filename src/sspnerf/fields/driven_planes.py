"""Architecture `planes` (preset `fast`): one field on plane grids, two bones, a band of samples."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.config import TrainConfig
from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_field import DrivenField, neck_height
from sspnerf.fields.portrait_field import FieldOutput, PortraitField
from sspnerf.fields.torso import Canonical


class Answer(NamedTuple):
    """What is at sample points, and how they were deformed on the way."""

    output: FieldOutput
    """Density, color, semantic logits."""
    residual: Tensor
    """What the deformation's network adds, cm. Shape (points, 3)."""
    offset: Tensor
    """From where the head would see each point to where it is canonically, cm. (points, 3)."""


class DrivenPlanes(DrivenField):
    """All learned parts of a portrait of preset `fast`."""

    def __init__(self, config: TrainConfig, *, feature_dim: int, window: int, classes: int) -> None:
        """Build the parts that the settings ask for.

        Args:
            config: All settings of the training.
            feature_dim: Width of the speech features.
            window: Speech features in one window.
            classes: Semantic classes.
        """
        super().__init__(config, feature_dim=feature_dim, window=window)
        self.field = PortraitField(config.field, classes=classes, rough_mesh=config.rough_mesh)

    @property
    def ray_samples(self) -> int:
        """How often the field is asked along one ray."""
        return self.config.band.samples

    def grids(self) -> list[nn.Parameter]:
        """Return the plane grids."""
        return [self.field.table]

    def place(self, vertices: Float[Tensor, "vertices 3"], canonical: Canonical) -> None:
        """Fit the face's regions and the neck's height to the person."""
        super().place(vertices, canonical)
        self.field.nose_height.copy_(vertices[vertices[:, 2].argmax(), 1])
        self.field.neck_height.copy_(neck_height(vertices))

    def forward(
        self,
        head_position: Float[Tensor, "points 3"],
        torso_position: Float[Tensor, "points 3"],
        drive: Drive,
        *,
        parse: bool = True,
    ) -> Answer:
        """Ask the field at sample points.

        Args:
            head_position: As of `deform`.
            torso_position: As of `deform`.
            drive: As of `deform`.
            parse: Whether the logits are wanted.
        """
        deformed = self.deform(head_position, torso_position, drive)
        # A body that does not move apart from the head does not listen to speech either.
        body = deformed.torso_weight
        if self.torso_deformation is None:
            body = self.field.body_weight(head_position[:, 1].detach())
        output = self.field(deformed.position, drive.condition, body, drive.row, parse=parse)
        return Answer(output, deformed.residual, deformed.position - head_position)
