"""The parts of `TrainConfig`: fields, samples, torso, speech, optimiser, losses."""

from dataclasses import dataclass
from typing import Literal

from sspnerf.config.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """The radiance field on plane grids, and (`*_dim`) the condition of every architecture."""

    resolutions: tuple[int, ...] = (24, 48, 96, 192, 384)
    """Nodes along each side of the three planes, per level."""
    features: int = 4
    """Numbers stored at each node."""
    hidden: int = 64
    """Width of the hidden layers; 64 runs fastest on CPUs with bfloat16."""
    extent: float | None = None
    """Half the side of the cube that the grids cover, cm; unset: what the clip's camera sees."""
    speech_dim: int = 20
    """Width of the speech part of the condition."""
    upper_face_dim: int = 8
    """Width of the upper-face part of the condition (blinks, brows, gaze); 0: sound alone."""

    surface_pull: float = 2.0
    """Density is expected to grow by this much (natural log) per cm into the rest surface.

    Without, a head that turns little grows a curtain at the near end of its band of samples: as
    good a picture, at the wrong depth. With the rough mesh only.
    """
    semantic_share: float = 0.1
    """Share of the parsing loss's gradient that reaches the grids and the density."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.resolutions or not all(2 <= r <= 4096 for r in self.resolutions):
            raise ValueError(
                f"field.resolutions is {self.resolutions}; expected one or more of 2 to 4096"
            )
        check_range("field.features", self.features, 1, 32)
        check_range("field.hidden", self.hidden, 8, 1024)
        check_range("field.extent", self.extent, 1, 1000)
        check_range("field.surface_pull", self.surface_pull, 0, 100)
        check_range("field.semantic_share", self.semantic_share, 0, 1)
        check_range("field.speech_dim", self.speech_dim, 1, 256)
        check_range("field.upper_face_dim", self.upper_face_dim, 0, 64)


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig:
    """The radiance fields of architectures `perceptron` and `head-and-torso`."""

    hidden: int = 256
    """Width of the trunk's layers."""
    layers: int = 8
    """Layers of the trunk; the input enters again in the middle."""
    position_bands: int = 10
    """Frequencies that encode the position."""
    direction_bands: int = 4
    """Frequencies that encode the view direction."""
    mesh_features: int = 32
    """Width of the latent code f that the rough mesh gives to a point."""
    mesh_nodes: int = 32
    """Nodes along each side of the cube around the rough mesh in which its codes spread."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("perceptron.hidden", self.hidden, 8, 4096)
        check_range("perceptron.layers", self.layers, 2, 64)
        check_range("perceptron.position_bands", self.position_bands, 0, 20)
        check_range("perceptron.direction_bands", self.direction_bands, 0, 20)
        check_range("perceptron.mesh_features", self.mesh_features, 1, 1024)
        check_range("perceptron.mesh_nodes", self.mesh_nodes, 10, 256)


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """Where coarse and fine fields are sampled along a ray: everywhere, then where it matters."""

    coarse: int = 64
    """Samples of the coarse field."""
    fine: int = 128
    """Samples more of the fine field, where the coarse one found something."""
    near: float | None = None
    """Distance from the camera where samples start, cm; unset: in front of the clip's head."""
    far: float | None = None
    """Distance from the camera where samples end, cm; unset: behind the clip's shoulders."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("volume.coarse", self.coarse, 1, 4096)
        check_range("volume.fine", self.fine, 1, 4096)
        check_range("volume.near", self.near, 0, 10_000)
        check_range("volume.far", self.far, 0, 10_000)
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise ValueError(f"volume.near is {self.near:g}; expected less than volume.far")


@dataclass(frozen=True, kw_only=True)
class DeformationConfig:
    """How the torso moves apart from the head, and the paper's deformation network."""

    form: Literal["both", "bones", "network"] = "both"
    """Two bones and a small residual network; the bones alone; or the paper's network alone."""
    hidden: int = 128
    """Width of the paper's network."""
    layers: int = 6
    """Layers of the paper's network."""
    position_bands: int = 4
    """Frequencies that encode the position."""
    pose_bands: int = 1
    """Frequencies that encode the head's pose."""
    time_bands: int = 2
    """Frequencies that encode the time."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("deformation.hidden", self.hidden, 8, 4096)
        check_range("deformation.layers", self.layers, 2, 64)
        check_range("deformation.position_bands", self.position_bands, 0, 20)
        check_range("deformation.pose_bands", self.pose_bands, 0, 20)
        check_range("deformation.time_bands", self.time_bands, 0, 20)


@dataclass(frozen=True, kw_only=True)
class SpeechConfig:
    """The networks that hear."""

    channels: tuple[int, ...] = (64, 64, 64, 64)
    """Channels of the convolutions over a speech window, each of which halves its length."""
    attention_inputs: int | None = None
    """The attention looks at this many of the encoded numbers first; unset: at all."""
    attention_from: float = 0.0
    """Share of the training after which neighbouring frames are weighed; before, each is alone."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.channels or not all(1 <= c <= 1024 for c in self.channels):
            raise ValueError(
                f"speech.channels is {self.channels}; expected one or more of 1 to 1024"
            )
        check_range("speech.attention_inputs", self.attention_inputs, 1, 256)
        check_range("speech.attention_from", self.attention_from, 0, 1)


@dataclass(frozen=True, kw_only=True)
class TwoFieldConfig:
    """Architecture `head-and-torso`: first the head learns, then the torso while the head rests."""

    head_share: float = 0.5
    """Share of the training that is the head's."""
    torso_rays: int = 1024
    """Rays in one step of the torso's, drawn uniformly."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("two_fields.head_share", self.head_share, 0.01, 0.99)
        check_range("two_fields.torso_rays", self.torso_rays, 16, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class BandConfig:
    """Where samples lie along a ray: in a band around the rest surface."""

    samples: int = 6
    """Samples per ray while learning."""
    render_samples: int | None = None
    """Samples per ray of rendered pictures; unset: two thirds of `samples`."""
    front: float = 2.3
    """First extent of the band towards the camera, cm."""
    back: float = 3.8
    """First extent of the band away from the camera, cm."""
    narrow_to: float = 0.33
    """The band narrows to this share of its first extent during the first half of training."""

    @property
    def rendered(self) -> int:
        """Samples per ray of rendered pictures."""
        return self.render_samples or max(1, round(self.samples * 2 / 3))

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("band.samples", self.samples, 1, 256)
        check_range("band.render_samples", self.render_samples, 1, 256)
        check_range("band.front", self.front, 0.01, 100)
        check_range("band.back", self.back, 0.01, 100)
        check_range("band.narrow_to", self.narrow_to, 0.01, 1)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam's learning rates, all decayed exponentially."""

    grid_rate: float = 2e-2
    """Learning rate of the plane grids."""
    network_rate: float = 2e-3
    """Learning rate of all networks."""
    pose_rate: float = 1e-4
    """Learning rate of the pose correction, cm and radians."""
    attention_scale: float = 1.0
    """The speech attention learns this much faster than the other networks."""
    final_share: float = 0.03
    """Share of the first learning rates that is left at the end."""
    decay_steps: int | None = None
    """The rates fall to a tenth in this many steps; unset: to `final_share` at the end."""
    beta2: float = 0.99
    """How long Adam remembers squared gradients."""
    epsilon: float = 1e-15
    """Adam's epsilon; grids see tiny, rare gradients, which the usual 1e-8 would drown."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("optimiser.grid_rate", self.grid_rate, 0, 1)
        check_range("optimiser.network_rate", self.network_rate, 0, 1)
        check_range("optimiser.pose_rate", self.pose_rate, 0, 1)
        check_range("optimiser.attention_scale", self.attention_scale, 0, 100)
        check_range("optimiser.final_share", self.final_share, 1e-6, 1)
        check_range("optimiser.decay_steps", self.decay_steps, 1, 1_000_000_000)
        check_range("optimiser.beta2", self.beta2, 0, 0.999999)
        check_range("optimiser.epsilon", self.epsilon, 0, 1)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Loss weights; the photometric loss has weight 1."""

    semantic_weight: float = 0.04
    """Weight of the parsing loss (Semantic-NeRF's value; SSP-NeRF's is not known)."""
    mask_weight: float = 0.05
    """Weight of the accumulation's difference from the person mask."""
    lip_weight: float = 0.02
    """Weight of teaching the speech encoder the mouth's blendshapes; 0: pictures alone teach it."""
    pose_weight: float = 1e-3
    """Weight that pulls the pose correction to zero."""
    deformation_weight: float = 1e-3
    """Weight that pulls the torso deformation's residual to zero."""
    still_weight: float = 1e-3
    """Weight that keeps the head undeformed, per cm squared of deformation on the head's rays."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in (
            "semantic_weight",
            "mask_weight",
            "lip_weight",
            "pose_weight",
            "deformation_weight",
            "still_weight",
        ):
            check_range(f"loss.{name}", getattr(self, name), 0, 1000)
