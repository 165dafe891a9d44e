"""Every setting, as frozen dataclasses; presets; TOML in and out. Loads no heavy library.

Precedence, always the same: defaults < preset < --config file.toml < flags. The resolved result is
written to run/config.toml and is the only thing that a resumed run uses.
"""

import dataclasses
import difflib
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from sspnerf.errors import UsageError

Settings = TypeVar("Settings")


def check_range(name: str, value: int | float | None, low: int | float, high: int | float) -> None:
    """Refuse a setting outside its range; None means 'not set' and passes.

    Raises:
        ValueError: With the setting's name, its value and its range.
    """
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} is {value:g}; expected {low:g} to {high:g}")


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """The radiance field on plane grids, and the networks that read it."""

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
    """Width of the upper-face part of the condition (blinks, brows, gaze)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.resolutions or not all(2 <= r <= 4096 for r in self.resolutions):
            raise ValueError(
                f"field.resolutions is {self.resolutions}; expected one or more of 2 to 4096"
            )
        check_range("field.features", self.features, 1, 32)
        check_range("field.hidden", self.hidden, 8, 1024)
        check_range("field.extent", self.extent, 1, 1000)
        check_range("field.speech_dim", self.speech_dim, 1, 256)
        check_range("field.upper_face_dim", self.upper_face_dim, 1, 64)


@dataclass(frozen=True, kw_only=True)
class BandConfig:
    """Where samples lie along a ray: in a band around the rest surface."""

    samples: int = 8
    """Samples per ray."""
    front: float = 2.3
    """First extent of the band towards the camera, cm."""
    back: float = 3.8
    """First extent of the band away from the camera, cm."""
    narrow_to: float = 0.33
    """The band narrows to this share of its first extent during the first half of training."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("band.samples", self.samples, 1, 256)
        check_range("band.front", self.front, 0.01, 100)
        check_range("band.back", self.back, 0.01, 100)
        check_range("band.narrow_to", self.narrow_to, 0.01, 1)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam's learning rates, each decayed exponentially to `final_share` at the end."""

    grid_rate: float = 1e-2
    """Learning rate of the plane grids."""
    network_rate: float = 2e-3
    """Learning rate of all networks."""
    pose_rate: float = 5e-4
    """Learning rate of the pose correction, cm and radians."""
    final_share: float = 0.03
    """Share of the first learning rates that is left at the end."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("optimiser.grid_rate", self.grid_rate, 0, 1)
        check_range("optimiser.network_rate", self.network_rate, 0, 1)
        check_range("optimiser.pose_rate", self.pose_rate, 0, 1)
        check_range("optimiser.final_share", self.final_share, 1e-6, 1)


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

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in (
            "semantic_weight",
            "mask_weight",
            "lip_weight",
            "pose_weight",
            "deformation_weight",
        ):
            check_range(f"loss.{name}", getattr(self, name), 0, 1000)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Learning a portrait from a clip."""

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
    sampling: Literal["dynamic", "uniform"] = "dynamic"
    """Rays by class in proportion to the classes' losses, or uniformly over the person."""
    parsing: bool = True
    """Learn the semantic classes too."""
    torso_deformation: bool = True
    """Let the torso move apart from the head."""
    uniform_share: float = 0.5
    """With dynamic sampling, part of the rays that is drawn uniformly over the person anyway."""
    rough_mesh: bool = True
    """Tell the field how far from the rest surface a point lies."""
    pose_correction: bool = True
    """Correct each training frame's head pose while learning."""
    checkpoint_minutes: float = 2.0
    """Minutes between checkpoints."""
    preview_minutes: float = 1.0
    """Minutes between preview pictures."""
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    band: BandConfig = dataclasses.field(default_factory=BandConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("seed", self.seed, 0, 2**31 - 1)
        check_range("steps", self.steps, 1, 10_000_000)
        check_range("minutes", self.minutes, 0.001, 100_000)
        check_range("rays_per_step", self.rays_per_step, 16, 1_000_000)
        check_range("uniform_share", self.uniform_share, 0, 1)
        check_range("frames_per_step", self.frames_per_step, 1, 1024)
        check_range("checkpoint_minutes", self.checkpoint_minutes, 0, 100_000)
        check_range("preview_minutes", self.preview_minutes, 0, 100_000)
        if self.rays_per_step < self.frames_per_step:
            raise ValueError(
                f"rays_per_step is {self.rays_per_step}; expected at least one per frame "
                f"(frames_per_step is {self.frames_per_step})"
            )


PRESETS: dict[str, TrainConfig] = {"fast": TrainConfig()}


def to_toml(settings: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses above
    """Turn settings into plain tables; a None is left out, as TOML has no word for it."""
    table = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            value = to_toml(value)
        if value is not None:
            table[item.name] = list(value) if isinstance(value, tuple) else value
    return table


def from_toml(base: Settings, table: dict[str, Any], *, where: str = "") -> Settings:
    """Lay a table of settings over others.

    Args:
        base: Settings that hold where the table says nothing.
        table: What a TOML file says, nested like the dataclasses.
        where: Name of the enclosing table, for messages.

    Raises:
        UsageError: If a key is unknown (the nearest known one is named) or a value does not fit.
    """
    kinds = typing.get_type_hints(type(base))
    changes = {}
    for key, value in table.items():
        name = f"{where}{key}"
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.0)
            raise UsageError(f"unknown setting {name}", f"did you mean {where}{near[0]}?")
        current = getattr(base, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise UsageError(f"setting {name} is {value!r}; expected a table [{name}]")
            changes[key] = from_toml(current, value, where=f"{name}.")
        else:
            changes[key] = _fit(name, value, kinds[key])
    try:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except ValueError as error:
        raise UsageError(str(error)) from error


def _fit(name: str, value: Any, kind: Any) -> Any:  # noqa: ANN401 - TOML is untyped
    """Return the value as the type that the setting has, or refuse it."""
    if typing.get_origin(kind) is Literal:
        if value in typing.get_args(kind):
            return value
        expected = " or ".join(map(repr, typing.get_args(kind)))
        raise UsageError(f"setting {name} is {value!r}; expected {expected}")
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        if isinstance(value, list):
            return tuple(_fit(name, item, item_kind) for item in value)
        raise UsageError(f"setting {name} is {value!r}; expected a list of {item_kind.__name__}")
    allowed = {k for k in (kind, *typing.get_args(kind)) if isinstance(k, type)}
    if float in allowed and type(value) is int:
        return float(value)
    if type(value) in allowed:
        return value
    expected = " or ".join(sorted(k.__name__ for k in allowed if k is not type(None)))
    raise UsageError(f"setting {name} is {value!r}; expected {expected}")


def read_settings(path: Path, base: Settings) -> Settings:
    """Read a TOML file over `base`.

    Raises:
        UsageError: If the file cannot be read, or says something that does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read settings from {path}: {error}") from error
    return from_toml(base, table)


SPEECH_FEATURES = ("logmel",)


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How a video becomes a clip."""

    size: int = 256
    """Side of the square frames, px."""
    frame_rate_hz: float | None = None
    """Frames per second of the clip; the video's own if not given."""
    features: tuple[str, ...] = ("logmel",)
    """Kinds of speech features to compute."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("prepare.size", self.size, 32, 1024)
        check_range("prepare.frame_rate_hz", self.frame_rate_hz, 1, 240)
        unknown = [name for name in self.features if name not in SPEECH_FEATURES]
        if unknown:
            known = ", ".join(SPEECH_FEATURES)
            raise ValueError(f"prepare.features has {unknown[0]}; expected any of: {known}")


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """The synthetic speaker: what is said, and how it is filmed."""

    text: str = ""
    """What to say, repeated or cut to `seconds`; empty reads a built-in passage."""
    voice: str = "en"
    """Voice or language of espeak-ng: en, en-us, de, en+f3 and so on."""
    seed: int = 0
    """Seed of the built-in passage's order, of the movements and of the voice's unevenness."""
    size: int = 96
    """Width and height of the picture, px."""
    seconds: float = 8.0
    """Length of the take, seconds."""
    frame_rate_hz: float = 25.0
    """Frames per second."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_range("synth.seed", self.seed, 0, 2**31 - 1)
        check_range("synth.size", self.size, 16, 1024)
        check_range("synth.seconds", self.seconds, 0.2, 3600)
        check_range("synth.frame_rate_hz", self.frame_rate_hz, 1, 120)
