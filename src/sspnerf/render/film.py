"""Portrait + speech -> frames -> a film with sound."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import (
    SPEECH_SAMPLE_RATE_HZ,
    check_waveform,
    log_mel,
    match_level,
)
from sspnerf.media.video import FilmWriter
from sspnerf.render.portrait import Portrait, RenderedFrame


class Film:
    """A film to be: iterate over it to render its frames one by one, or `save` it.

    Memory does not grow with its length, apart from the sound itself.

    Attributes:
        frames: How many there will be.
    """

    def __init__(self, portrait: Portrait, waveform: NDArray[np.float32]) -> None:
        """Prepare the speech; nothing is rendered yet.

        Args:
            portrait: Who speaks.
            waveform: What is said, mono at 16 kHz in [-1, 1]. Shape (samples,).
        """
        self.portrait = portrait
        self.waveform = waveform
        level = match_level(waveform, portrait.info.speech_level_db)
        self._features = speech_features(portrait.info.speech_feature, level)
        seconds = len(waveform) / SPEECH_SAMPLE_RATE_HZ
        self.frames = max(1, round(seconds * portrait.info.frame_rate_hz))

    def __len__(self) -> int:
        """Count the frames."""
        return self.frames

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Render frame by frame, RGB (height, width, 3)."""
        return (frame.color for frame in self.render())

    def render(self) -> Iterator[RenderedFrame]:
        """Render frame by frame, with labels and distances."""
        for index in range(self.frames):
            windows = self.portrait.windows(self._features, np.array([index]))
            yield self.portrait.render_frame(
                windows, clip_frame=there_and_back(index, self.portrait.frames)
            )

    def save(self, path: Path | str, *, progress: Callable[[int, int], None] | None = None) -> Path:
        """Render everything and write an mp4 (H.264, AAC) with the sound in step.

        Args:
            path: The film's name; appears when it is complete.
            progress: Called with frames done and frames in all.

        Returns:
            The film's path.
        """
        path, info = Path(path), self.portrait.info
        with FilmWriter(
            path,
            width=info.width,
            height=info.height,
            frame_rate_hz=info.frame_rate_hz,
            waveform=self.waveform,
            sample_rate_hz=SPEECH_SAMPLE_RATE_HZ,
        ) as writer:
            for done, frame in enumerate(self, start=1):
                writer.write(frame)
                if progress is not None:
                    progress(done, self.frames)
        return path


def speak(portrait: Portrait, speech: Path | str | NDArray[np.float32]) -> Film:
    """Let a portrait say a recording, with the poses and blinks of its clip.

    Args:
        portrait: Who speaks.
        speech: A sound or video file, or a waveform: mono at 16 kHz in [-1, 1].

    Returns:
        The film, which renders while one iterates over it.

    Raises:
        MediaError: If the file cannot be read or holds no sound, or the waveform is not finite.
        UsageError: If the waveform is not of floats.
    """
    if isinstance(speech, np.ndarray):
        if not np.issubdtype(speech.dtype, np.floating):
            raise UsageError(
                f"the waveform is {speech.dtype}; expected floats in [-1, 1]",
                "divide 16-bit samples by 32768",
            )
        check_waveform(speech)
        waveform = speech.astype(np.float32, copy=False)
    else:
        waveform = read_waveform(Path(speech), sample_rate_hz=SPEECH_SAMPLE_RATE_HZ)
    if not len(waveform):
        raise MediaError("the speech is empty", "give a recording of at least one frame's length")
    return Film(portrait, waveform)


def speech_features(name: str, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the features that a portrait was trained with.

    Raises:
        UsageError: If this kind of features cannot be computed from a recording here.
    """
    if name != "logmel":
        raise UsageError(
            f"the portrait listens to {name} features; this version computes logmel only",
            "train it with --speech-feature logmel",
        )
    return log_mel(waveform)


def there_and_back(index: int, frames: int) -> int:
    """Walk through a clip's frames forwards and backwards without a jump, for films of any length.

    Example:
        >>> [there_and_back(i, 3) for i in range(7)]
        [0, 1, 2, 1, 0, 1, 2]
    """
    if frames == 1:
        return 0
    turn = index % (2 * frames - 2)
    return turn if turn < frames else 2 * frames - 2 - turn
