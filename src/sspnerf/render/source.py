"""Which clip and which speech a run was trained on: source.json, and whether a clip is that one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from sspnerf.data.clip import Clip
from sspnerf.errors import ClipError, PortraitError
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.render.film import speech_features

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

    @classmethod
    def of(cls, clip: Clip, speech: Path | None) -> "Source":
        """Describe a clip."""
        return cls(
            clip=str(clip.path.resolve()),
            speech=None if speech is None else str(speech.resolve()),
            video=clip.manifest.source,
            frames=clip.manifest.frames,
            width=clip.manifest.width,
            height=clip.manifest.height,
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


def read_speech(
    clip: Clip, speech: Path | None, *, feature: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read what drives a clip: its own sound, or the recording that was given instead.

    Args:
        clip: The clip.
        speech: A recording of the same take, or None.
        feature: Kind of speech features.

    Returns:
        Features (feature_frames, feature_dim), and the waveform (samples,) at 16 kHz.

    Raises:
        ClipError: If the clip has no sound or no such features, and no recording is given.
        MediaError: If the recording cannot be read.
    """
    if speech is None:
        waveform = clip.speech()
        return np.array(clip.feature(feature)), waveform
    waveform = read_waveform(speech, sample_rate_hz=SPEECH_SAMPLE_RATE_HZ)
    return speech_features(feature, waveform), waveform


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
