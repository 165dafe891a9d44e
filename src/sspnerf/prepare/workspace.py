"""What the stages of `prepare` share: the clip being written, scratch files, who is told."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sspnerf.config import PrepareConfig
from sspnerf.data.clip import ClipWriter
from sspnerf.data.manifest import SpeechFeature, StageRecord
from sspnerf.geometry.cameras import Intrinsics
from sspnerf.media.video import VideoInfo
from sspnerf.prepare.framing import Box
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.tracking import FaceTrack

Progress = Callable[[str, int, int], None]
Warn = Callable[[str], None]
Scalar = str | int | float | bool | None

# Pages of memory maps are handed back after so many frames.
RELEASE_EVERY = 128


@dataclass(kw_only=True)
class Workspace:
    """One `prepare` in progress. Each stage reads what earlier ones left here, and adds its own."""

    video: Path
    settings: PrepareConfig
    writer: ClipWriter
    progress: Progress
    warn: Warn
    info: VideoInfo
    frame_rate_hz: float
    frames: int = 0
    """Length of the clip; known after decode."""
    crop: Box = (0, 0, 0, 0)
    """Square of the source picture; known after decode."""
    observed: Observations = field(default_factory=lambda: Observations.none(0))
    """Known after observe."""
    hair_boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    """Square around the head in each frame, px. Shape (frames, 3)."""
    track: FaceTrack | None = None
    torso_poses: NDArray[np.float64] | None = None
    reference_frame: int = 0
    has_speech: bool = False
    waveform: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """The video's sound, 16 kHz; known after decode."""
    features: dict[str, SpeechFeature] = field(default_factory=dict)
    records: dict[str, StageRecord] = field(default_factory=dict)
    _maps: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def intrinsics(self) -> Intrinsics:
        """The clip's camera."""
        return Intrinsics.from_field_of_view(self.settings.size, self.settings.size)

    @property
    def done_track(self) -> FaceTrack:
        """The track, which the stage `tracking` has left."""
        assert self.track is not None, "tracking has not run"  # noqa: S101
        return self.track

    def create(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Make one of the clip's arrays, to be filled by this stage and read by later ones."""
        self._maps[name] = self.writer.create_array(name, shape)
        return self._maps[name]

    def scratch(self, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Make an array of bytes that does not stay in the clip."""
        folder = self.writer.partial / "scratch"
        folder.mkdir(exist_ok=True)
        self._maps[name] = np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        return self._maps[name]

    def array(self, name: str) -> NDArray[Any]:
        """Return an array that an earlier stage has made."""
        return self._maps[name]

    def release(self, index: int) -> None:
        """Hand the memory of mapped files back now and then; the files keep what was written."""
        if index % RELEASE_EVERY == RELEASE_EVERY - 1:
            import mmap

            for array in self._maps.values():
                mapping = getattr(array, "_mmap", None)
                if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
                    mapping.madvise(mmap.MADV_DONTNEED)

    def record(self, stage: str, settings: dict[str, Scalar]) -> None:
        """Note a finished stage: its settings, and the hash of all that went before it."""
        before = [record.model_dump() for record in self.records.values()]
        source = source_hash(self.video) if not before else ""
        content = json.dumps([source, stage, settings, before], sort_keys=True)
        self.records[stage] = StageRecord(
            settings=settings, input_hash=hashlib.sha256(content.encode()).hexdigest()
        )

    def discard_scratch(self) -> None:
        """Remove what does not belong into the clip."""
        self._maps.clear()
        shutil.rmtree(self.writer.partial / "scratch", ignore_errors=True)


def source_hash(video: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with video.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
