"""Settings -> untrained networks of the architecture that they name."""

from sspnerf.config import TrainConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.fields.conditioning import window_length
from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.driven_perceptrons import DrivenPerceptrons
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.fields.head_and_torso import HeadAndTorso


def build_driven(
    config: TrainConfig, *, feature_dim: int, rate_hz: float, mesh_vertices: int
) -> DrivenField:
    """Build untrained networks.

    Args:
        config: Settings; `architecture` decides.
        feature_dim: Width of the speech features.
        rate_hz: Speech features per second.
        mesh_vertices: Vertices of the person's mesh.
    """
    window = window_length(rate_hz)
    if config.architecture == "planes":
        return DrivenPlanes(
            config, feature_dim=feature_dim, window=window, classes=SEMANTIC_CLASSES
        )
    if config.architecture == "perceptron":
        return DrivenPerceptrons(
            config,
            feature_dim=feature_dim,
            window=window,
            classes=SEMANTIC_CLASSES,
            vertices=mesh_vertices,
        )
    return HeadAndTorso(config, feature_dim=feature_dim, window=window)
