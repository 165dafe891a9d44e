"""portrait.json: what a portrait's weights and arrays mean."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sspnerf.data.manifest import Camera, SpeechFeature
from sspnerf.errors import PortraitError
from sspnerf.geometry.intrinsics import Intrinsics

PORTRAIT_SCHEMA_VERSION = 4
PORTRAIT_JSON = "portrait.json"


class PortraitInfo(BaseModel):
    """What portrait.json says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = PORTRAIT_SCHEMA_VERSION
    source: str
    """The video that it was learned from."""
    licence: str
    frame_rate_hz: float
    cuts: tuple[int, ...] = ()
    """First frames of the clip after a cut; films do not play across them."""
    width: int
    height: int
    camera: Camera
    speech_feature: str
    speech_rate_hz: float
    feature_dim: int
    speech_model: str = ""
    """Network that hears; empty for features that need none."""
    speech_layer: int | None = None
    """Layer of that network."""
    speech_weights: str = ""
    """Fingerprint of that network's weights."""
    speech_level_db: float
    """Level of the speech that it was learned from, dBFS; new speech is brought to it."""
    mesh_vertices: int
    """Vertices of the person's mesh."""
    band_scale: float
    training_frames: int
    """Frames [0, this) of the clip were learned from; later ones were held out."""
    config: dict[str, Any]
    """The settings of the training, as in config.toml."""

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera with the picture's size."""
        return Intrinsics(**self.camera.model_dump(), width=self.width, height=self.height)

    @property
    def heard(self) -> SpeechFeature:
        """The features that it listens to."""
        return SpeechFeature(
            rate_hz=self.speech_rate_hz,
            dim=self.feature_dim,
            model=self.speech_model,
            layer=self.speech_layer,
            weights=self.speech_weights,
        )


def read_info(run: Path) -> PortraitInfo:
    """Read portrait.json.

    Raises:
        PortraitError: If it is missing, damaged or of another version.
    """
    file = run / PORTRAIT_JSON
    if not file.is_file():
        raise PortraitError(
            f"{run} holds no portrait: {PORTRAIT_JSON} is missing",
            "train one with: sspnerf train CLIP RUN",
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.get("schema_version")
        if version != PORTRAIT_SCHEMA_VERSION:
            raise PortraitError(
                f"{run} has portrait schema version {version}; "
                f"this sspnerf reads {PORTRAIT_SCHEMA_VERSION}",
                "train it again with this version",
            )
        return PortraitInfo.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise PortraitError(f"{file} is damaged: {reason}", "train the portrait again") from error
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise PortraitError(f"{file} is damaged: {error}", "train the portrait again") from error
