"""Architecture `perceptron` (preset `paper`): SSP-NeRF as published, as far as it is known.

What is known of the paper and what is our choice: docs/method.md.
"""

from jaxtyping import Float
from torch import Tensor

from sspnerf.config import PerceptronConfig, TrainConfig
from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.perceptron_field import PerceptronField
from sspnerf.fields.portrait_field import FieldOutput
from sspnerf.fields.rough_mesh import RoughMesh
from sspnerf.fields.torso import Canonical


def build_perceptron(
    config: PerceptronConfig, *, condition_dim: int, classes: int | None, mesh_features: int = 0
) -> PerceptronField:
    """Build one field of the settings' size."""
    return PerceptronField(
        condition_dim=condition_dim,
        mesh_features=mesh_features,
        classes=classes,
        hidden=config.hidden,
        layers=config.layers,
        position_bands=config.position_bands,
        direction_bands=config.direction_bands,
    )


class DrivenPerceptrons(DrivenField):
    """A coarse and a fine field over one deformation and one rough mesh.

    Source: F(x + dx, d, a, f) of Liu et al. 2022 (arXiv:2201.07786), its pipeline figure.
    """

    def __init__(
        self, config: TrainConfig, *, feature_dim: int, window: int, classes: int, vertices: int
    ) -> None:
        """Build the parts that the settings ask for.

        Args:
            config: All settings of the training.
            feature_dim: Width of the speech features.
            window: Speech features in one window.
            classes: Semantic classes.
            vertices: Of the rough mesh.
        """
        super().__init__(config, feature_dim=feature_dim, window=window)
        perceptron = config.perceptron
        width = perceptron.mesh_features if config.rough_mesh else 0
        self.rough_mesh = (
            RoughMesh(vertices, features=width, nodes=perceptron.mesh_nodes) if width else None
        )
        self.coarse, self.fine = (
            build_perceptron(
                perceptron, condition_dim=self.condition_dim, classes=classes, mesh_features=width
            )
            for _ in range(2)
        )

    def place(self, vertices: Float[Tensor, "vertices 3"], canonical: Canonical) -> None:
        """Fit the deformation to the person, and anchor the mesh's codes."""
        super().place(vertices, canonical)
        if self.rough_mesh is not None:
            self.rough_mesh.place(vertices)

    def code_volume(self) -> Tensor | None:
        """Return the rough mesh's codes, spread in space; once per chunk of rays."""
        return None if self.rough_mesh is None else self.rough_mesh.volume()

    def forward(
        self,
        field: PerceptronField,
        position: Float[Tensor, "points 3"],
        direction: Float[Tensor, "points 3"],
        drive: Drive,
        *,
        codes: Tensor | None,
    ) -> tuple[FieldOutput, Float[Tensor, "points 3"]]:
        """Ask one of the two fields at sample points.

        Args:
            field: `coarse` or `fine`.
            position: In head space, cm. Shape (points, 3).
            direction: View directions, unit. Shape (points, 3).
            drive: Of each point's frame, one row per point.
            codes: What `code_volume` returned.

        Returns:
            What is there, and the deformation's offsets (points, 3), cm.
        """
        canonical, _, offset = self.deform(position, position, drive)
        told = None
        if self.rough_mesh is not None:
            told = self.rough_mesh(canonical, codes)
        output: FieldOutput = field(canonical, direction, drive.condition, told)
        return output, offset
