"""Settings of `sspnerf train`."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from sspnerf.config.parts import (
    BandConfig,
    DeformationConfig,
    FieldConfig,
    LossConfig,
    OptimiserConfig,
    PerceptronConfig,
    SpeechConfig,
    TwoFieldConfig,
    VolumeConfig,
)
from sspnerf.config.ranges import check_range

# Parts of the settings that an architecture does not read.
UNUSED_PARTS = {
    "planes": ("perceptron", "volume", "two_fields"),
    "perceptron": ("band", "two_fields"),
    "head-and-torso": ("band", "deformation"),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Learning a portrait from a clip."""

    architecture: Literal["planes", "perceptron", "head-and-torso"] = "planes"
    """Field on plane grids (`fast`), the paper's perceptrons, or AD-NeRF's two fields."""
    steps: int = 8000
    """Steps to train, unless `minutes` is set."""
    minutes: float | None = None
    """End after this time instead of after `steps`; schedules follow the clock."""
    rays_per_step: int = 4096
    """Rays in one step."""
    frames_per_step: int = 8
    """Frames that the rays of one step are drawn from."""
    seed: int = 0
    """Seed of every random choice."""
    speech_feature: str = "logmel"
    """Which of the clip's speech features drive the portrait."""
    sampling: Literal["dynamic", "uniform", "face-rectangle"] = "dynamic"
    """Rays by the classes' losses, uniformly, or 95 % in a rectangle around the face (AD-NeRF)."""
    sampling_unit: Literal["class", "pixel"] = "class"
    """With dynamic sampling, losses are shares of the rays, or chances of each pixel."""
    sampling_period: int = 100
    """Steps over which the classes' losses are averaged; 0: one pass over the frames."""
    background_rays: Literal["near", "all"] = "near"
    """Background pixels to learn from: those within a few px of the person, or all."""
    parsing: bool = True
    """Learn the semantic classes too."""
    torso_deformation: bool = True
    """Let the torso move apart from the head."""
    uniform_share: float = 0.5
    """With dynamic sampling, part of the rays that is drawn uniformly over the person anyway."""
    rough_mesh: bool = True
    """Tell the field how far from the rest surface a point lies."""
    pose_correction: bool = True
    """Correct the training frames' poses of head and torso while learning."""
    correction_every: int = 6
    """Frames from one knot of the pose correction to the next; in between it is linear."""
    checkpoint_minutes: float = 2.0
    """Minutes between checkpoints."""
    preview_minutes: float = 1.0
    """Minutes between preview pictures."""
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    band: BandConfig = dataclasses.field(default_factory=BandConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    speech: SpeechConfig = dataclasses.field(default_factory=SpeechConfig)
    deformation: DeformationConfig = dataclasses.field(default_factory=DeformationConfig)
    perceptron: PerceptronConfig = dataclasses.field(default_factory=PerceptronConfig)
    volume: VolumeConfig = dataclasses.field(default_factory=VolumeConfig)
    two_fields: TwoFieldConfig = dataclasses.field(default_factory=TwoFieldConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("seed", self.seed, 0, 2**31 - 1)
        check_range("steps", self.steps, 1, 10_000_000)
        check_range("minutes", self.minutes, 0.001, 100_000)
        check_range("rays_per_step", self.rays_per_step, 16, 1_000_000)
        check_range("uniform_share", self.uniform_share, 0, 1)
        check_range("sampling_period", self.sampling_period, 0, 1_000_000)
        check_range("correction_every", self.correction_every, 1, 10_000)
        check_range("frames_per_step", self.frames_per_step, 1, 1024)
        check_range("checkpoint_minutes", self.checkpoint_minutes, 0, 100_000)
        check_range("preview_minutes", self.preview_minutes, 0, 100_000)
        if self.rays_per_step < self.frames_per_step:
            raise ValueError(
                f"rays_per_step is {self.rays_per_step}; expected at least one per frame "
                f"(frames_per_step is {self.frames_per_step})"
            )
        self._check_architecture()

    def _check_architecture(self) -> None:
        """Refuse what the architecture would silently ignore or cannot learn."""
        name = self.architecture
        for part in UNUSED_PARTS[name]:
            default = type(getattr(self, part))()
            if getattr(self, part) != default:
                raise ValueError(f"{part}.* is not used by architecture {name}; leave it out")
        if name == "perceptron" and self.torso_deformation and self.deformation.form != "network":
            raise ValueError(
                f"deformation.form is {self.deformation.form}; architecture perceptron has no "
                "bones: choose network, or no torso deformation"
            )
        if name == "head-and-torso":
            for switch in ("parsing", "torso_deformation", "rough_mesh"):
                if getattr(self, switch):
                    raise ValueError(
                        f"{switch} is on; architecture head-and-torso has no such part: switch it "
                        "off, or start from --preset adnerf"
                    )
