"""What clip.json says: the schema of a clip's manifest, checked when it is read."""

from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from sspnerf.geometry.intrinsics import Intrinsics

CLIP_SCHEMA_VERSION = 2

# How the points in landmarks.npy are numbered.
LandmarkScheme = Literal["mediapipe478", "mesh"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Camera(_Strict):
    """The pinhole camera of every frame, px (see `Intrinsics`)."""

    fx: float = Field(gt=0)
    fy: float = Field(gt=0)
    cx: float
    cy: float


class SpeechFeature(_Strict):
    """One file in features/: (feature_frames, dim) float32 at a steady rate."""

    rate_hz: float = Field(gt=0)
    dim: int = Field(gt=0)
    model: str = ""
    """Network that computed them: folder, or name on the Hugging Face hub; empty: none did."""
    layer: int | None = None
    """Layer of the network."""
    weights: str = ""
    """Fingerprint of the network's weights."""


class StageRecord(_Strict):
    """One finished stage of preparing: with which settings, from which input."""

    settings: dict[str, str | int | float | bool | None]
    input_hash: str
    leaves: tuple[str, ...] = ()
    """Files of the clip that it wrote."""
    found: dict[str, JsonValue] = {}
    """What it found out."""
    warnings: tuple[str, ...] = ()
    """What was not as it should be, in words."""
    seconds: float = 0.0
    """How long it took."""


class ClipManifest(_Strict):
    """Everything about a clip that is not an array."""

    schema_version: int = CLIP_SCHEMA_VERSION
    source: str
    """Name of the video it came from, or `synthetic`."""
    frame_rate_hz: float = Field(gt=0)
    frames: int = Field(gt=0)
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    camera: Camera
    crop: tuple[int, int, int, int] | None = None
    """Box of the source picture that the frames show: x0, y0, x1, y1 in px, end exclusive."""
    source_size: tuple[int, int] | None = None
    """Width and height of the source picture, px: where `crop` lies in."""
    units: Literal["cm"] = "cm"
    landmark_scheme: LandmarkScheme
    reference_frame: int = Field(ge=0)
    """The frame in which the head's and the torso's poses agree by definition."""
    cuts: tuple[int, ...] = ()
    """First frames after a cut, growing: nothing moves on across them."""
    has_speech: bool
    features: dict[str, SpeechFeature] = {}
    stages: dict[str, StageRecord] = {}
    licence: str = ""
    """What is known of the source's licence and of the person's consent, in words."""

    @model_validator(mode="after")
    def _reference_is_a_frame(self) -> "ClipManifest":
        if self.reference_frame >= self.frames:
            raise ValueError(
                f"reference_frame is {self.reference_frame}; expected less than {self.frames}"
            )
        return self

    @model_validator(mode="after")
    def _cuts_are_inside(self) -> "ClipManifest":
        edges = (0, *self.cuts, self.frames)
        if any(after <= before for before, after in pairwise(edges)):
            raise ValueError(
                f"cuts are {list(self.cuts)}; expected growing frames from 1 to {self.frames - 1}"
            )
        return self

    @property
    def pieces(self) -> list[range]:
        """The frames between cuts, all together the whole clip."""
        return [range(*edges) for edges in pairwise((0, *self.cuts, self.frames))]

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera with the picture's size."""
        return Intrinsics(**self.camera.model_dump(), width=self.width, height=self.height)
