"""Which clip and which speech a run was trained on: source.json, and whether a clip is that one."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from sspnerf.data.clip import Clip
from sspnerf.data.manifest import SpeechFeature
from sspnerf.data.speech_features import FeatureSource, compute_features
from sspnerf.errors import ClipError, PortraitError
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ

SOURCE_NAME = "source.json"


class Source(BaseModel):
    """What source.json says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: str
    """Where the clip was, absolute."""
    speech: str | None
    """Recording that was used instead of the clip's sound, absolute; None: the clip's own."""
    video: str
    """The clip's `source`."""
    frames: int
    width: int
    height: int
    heard: SpeechFeature | None = None
    """The features that drove the training."""

    @classmethod
    def of(cls, clip: Clip, speech: Path | None, *, heard: SpeechFeature | None = None) -> "Source":
        """Describe a clip, and what drives it."""
        return cls(
            clip=str(clip.path.resolve()),
            speech=None if speech is None else str(speech.resolve()),
            video=clip.manifest.source,
            frames=clip.manifest.frames,
            width=clip.manifest.width,
            height=clip.manifest.height,
            heard=heard,
        )

    def check(self, clip: Clip) -> None:
        """Refuse a clip that is not the one of the training.

        Raises:
            ClipError: Naming what differs.
        """
        found = Source.of(clip, None)
        for name in ("video", "frames", "width", "height"):
            have, want = getattr(found, name), getattr(self, name)
            if have != want:
                raise ClipError(
                    f"{clip.path} is not the clip of this run: {name} is {have}; expected {want}",
                    "give the clip that it was trained on",
                )


class Heard(NamedTuple):
    """What drives a clip."""

    features: NDArray[np.float32]
    """Shape (feature_frames, feature_dim)."""
    told: SpeechFeature
    """What the features are."""
    waveform: NDArray[np.float32]
    """Mono at 16 kHz. Shape (samples,)."""


def read_speech(clip: Clip, speech: Path | None, *, kind: str) -> Heard:
    """Read what drives a clip: its own sound, or the recording that was given instead.

    Args:
        clip: The clip.
        speech: A recording of the same take, or None. The network that hears it is the one of the
            clip's features, or the published one if the clip has none of this kind.
        kind: Kind of speech features.

    Returns:
        Features, what they are, and the waveform.

    Raises:
        ClipError: If the clip has no sound or no such features, and no recording is given.
        MediaError: If the recording cannot be read.
        UsageError: If such features cannot be computed from a recording.
        SspnerfError: If the network that computes them cannot be had.
    """
    if speech is None:
        waveform = clip.speech()
        return Heard(np.array(clip.feature(kind)), clip.manifest.features[kind], waveform)
    waveform = read_waveform(speech, sample_rate_hz=SPEECH_SAMPLE_RATE_HZ)
    known = clip.manifest.features.get(kind)
    source = FeatureSource(kind) if known is None else FeatureSource(kind, known.model, known.layer)
    return Heard(*compute_features(waveform, source), waveform)


def write_source(run: Path, source: Source) -> None:
    """Write source.json into a run."""
    (run / SOURCE_NAME).write_text(source.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_source(run: Path) -> Source:
    """Read a run's source.json.

    Raises:
        PortraitError: If it is missing or damaged.
    """
    try:
        return Source.model_validate_json((run / SOURCE_NAME).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise PortraitError(
            f"{run / SOURCE_NAME} cannot be read: {reason}", "train again"
        ) from error
