"""Read the sound of any file as one mono waveform, and write a waveform as WAV.

A waveform is mono float32 in [-1, 1], shape (samples,). Of a video, sample 0 belongs to the moment
when the first picture appears: the two streams of one file need not start together.
"""

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.container import check_complete, check_target, open_media, picture_start_s
from sspnerf.media.speech import check_waveform

# Recorders drop sound and step over it in the time stamps; below this it is rounding.
_SMALLEST_GAP_S = 0.05
_LARGEST_GAP_S = 60.0
# The longest padding that an encoder leaves at the end (HE-AAC), in samples of the stream.
_LONGEST_PADDING = 2048
_SAMPLES_PER_BLOCK = 1 << 20
_RE_ENCODE = "Convert it with `ffmpeg -i IN -ar 16000 OUT.wav` and give that."


def read_waveform(path: str | Path, sample_rate_hz: int = 16000) -> NDArray[np.float32]:
    """Read the first sound track of a sound or video file, mixed to mono.

    Channels are mixed with weights that sum to 1, so equal channels keep their level. Gaps in the
    time stamps become silence. In a file with a picture the waveform begins with the first
    picture: sound before it is cut, a late start is filled with silence.

    Args:
        path: A sound or video file of any layout and rate.
        sample_rate_hz: Wanted rate, 1000 to 192000.

    Returns:
        Samples in [-1, 1]. Shape (samples,), never empty.

    Raises:
        MediaError: If there is no such file, no sound in it, if it breaks part-way, or if a
            sample is not finite.
        UsageError: If the rate is not possible.
    """
    path = Path(path)
    _check_rate(sample_rate_hz)
    with open_media(path) as container:
        if not container.streams.audio:
            raise MediaError(
                f"{path} holds no sound; expected a sound track",
                "Give a recording, or a video that was filmed with sound.",
            )
        stream = container.streams.audio[0]
        check_complete(stream, path)
        waveform, start_s = _read_track(container, stream, path, sample_rate_hz=sample_rate_hz)
        if "mov" in container.format.name:
            waveform = _without_padding(waveform, stream, sample_rate_hz)
    picture_s = picture_start_s(path)
    late = 0 if picture_s is None else round((start_s - picture_s) * sample_rate_hz)
    waveform = np.pad(waveform, (late, 0)) if late > 0 else waveform[-late:]
    if len(waveform) == 0:
        raise MediaError(f"the sound of {path} holds nothing from the first picture on", _RE_ENCODE)
    # Resampling may overshoot a full-scale edge a little.
    return np.clip(waveform, -1.0, 1.0)


def write_waveform(
    path: str | Path, waveform: NDArray[np.floating], sample_rate_hz: int = 16000
) -> None:
    """Write a waveform as 16-bit PCM WAV; the file appears whole or not at all.

    Reading it again gives each sample within 1 / 32768.

    Args:
        path: The file to write, ``.wav``; replaced if there is one.
        waveform: Mono samples in [-1, 1]; louder ones are clipped. Shape (samples,).
        sample_rate_hz: Samples per second, 1000 to 192000.

    Raises:
        MediaError: If a sample is not finite, the waveform is not mono, or the file cannot be
            written.
        UsageError: If the rate is not possible.
    """
    _check_rate(sample_rate_hz)
    path, partial = check_target(path, ".wav")
    check_waveform(waveform, sample_rate_hz=sample_rate_hz)
    try:
        with wave.open(str(partial), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sample_rate_hz)
            for first in range(0, len(waveform), _SAMPLES_PER_BLOCK):
                block = np.rint(waveform[first : first + _SAMPLES_PER_BLOCK] * 32768.0)
                file.writeframes(np.clip(block, -32768, 32767).astype("<i2").tobytes())
        partial.replace(path)
    except OSError as error:
        raise MediaError(
            f"{path} cannot be written: {error.strerror}", "Choose a folder with space."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _check_rate(sample_rate_hz: int) -> None:
    if not 1000 <= sample_rate_hz <= 192000:
        raise UsageError(
            f"a sample rate of {sample_rate_hz} Hz is not possible; expected 1000 to 192000",
            "Speech is handled at 16000.",
        )


def _read_track(
    container: InputContainer, stream: AudioStream, path: Path, *, sample_rate_hz: int
) -> tuple[NDArray[np.float32], float]:
    """Read all samples, with silence in the gaps, and the time stamp of the first."""
    blocks: list[NDArray[np.float32]] = []
    start_s: float | None = None
    written, heard_s = 0, 0.0
    mixer = _Mixer(sample_rate_hz)
    for frame in _decoded(container, stream, path):
        time_s = heard_s + (start_s or 0.0) if frame.time is None else frame.time
        if start_s is None:
            start_s = time_s
        gap_s = time_s - start_s - heard_s
        if gap_s > _LARGEST_GAP_S:
            raise MediaError(f"the sound of {path} jumps by {gap_s:.0f} s", _RE_ENCODE)
        if gap_s > _SMALLEST_GAP_S:
            blocks.append(mixer.finish())
            heard_s = time_s - start_s
            written = sum(map(len, blocks))
            blocks.append(np.zeros(max(0, round(heard_s * sample_rate_hz) - written), np.float32))
        blocks.append(mixer.push(frame))
        heard_s += frame.samples / frame.sample_rate
    blocks.append(mixer.finish())
    return np.concatenate(blocks), start_s or 0.0


def _without_padding(
    waveform: NDArray[np.float32], stream: AudioStream, sample_rate_hz: int
) -> NDArray[np.float32]:
    """Cut what an encoder appended to fill its last block; the MP4 says how long the sound is."""
    if stream.duration is None or stream.time_base is None:
        return waveform
    declared = round(stream.duration * stream.time_base * sample_rate_hz)
    excess = len(waveform) - declared
    is_padding = 0 < excess <= _LONGEST_PADDING * sample_rate_hz / stream.rate
    return waveform[:declared] if is_padding else waveform


def _decoded(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[AudioFrame]:
    """Decode block by block, with errors that name the file and the moment."""
    heard_s = 0.0
    frames = container.decode(stream)
    while True:
        try:
            frame = next(frames, None)
        except FFmpegError as error:
            raise MediaError(
                f"the sound of {path} breaks at {heard_s:.2f} s: {error.strerror}", _RE_ENCODE
            ) from error
        if frame is None:
            break
        if frame.samples:
            _check_samples(frame, path, heard_s)
            heard_s += frame.samples / frame.sample_rate
            yield frame
    if heard_s == 0.0:
        raise MediaError(f"the sound of {path} holds no sample", _RE_ENCODE)


def _check_samples(frame: AudioFrame, path: Path, start_s: float) -> None:
    """Refuse infinite samples and NaN, which only floating formats have, before they spread."""
    if not frame.format.name.startswith(("flt", "dbl")):
        return
    samples = frame.to_ndarray()
    # Planar sound is (channels, samples), packed is (1, samples * channels).
    by_time = samples if frame.format.is_planar else samples.reshape(frame.samples, -1).T
    finite = np.isfinite(by_time).all(axis=0)
    if not finite.all():
        time_s = start_s + int(np.argmin(finite)) / frame.sample_rate
        raise MediaError(
            f"the sound of {path} is not finite at {time_s:.3f} s; expected samples in [-1, 1]",
            "Export the recording again.",
        )


class _Mixer:
    """Mix frames of any format to mono at one rate; the format may change in between."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._resampler: AudioResampler | None = None
        self._source: tuple[str, str, int] | None = None

    def push(self, frame: AudioFrame) -> NDArray[np.float32]:
        """Give the samples that became ready. Shape (samples,), may be empty."""
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        rest = self.finish() if source != self._source else np.zeros(0, np.float32)
        self._source = source
        if self._resampler is None:
            # Left alone, swresample mixes floats with weights that sum to more than 1.
            self._resampler = AudioResampler(
                format="fltp", layout="mono", rate=self._rate, options={"rematrix_maxval": "1.0"}
            )
        # Gaps are filled by the caller; the resampler shall only count.
        frame.pts = None
        return np.concatenate([rest, *map(_samples, self._resampler.resample(frame))])

    def finish(self) -> NDArray[np.float32]:
        """Give what the filter still holds, and be ready for sound that does not continue it."""
        held = self._resampler.resample(None) if self._resampler else []
        self._resampler = None
        return np.concatenate([np.zeros(0, np.float32), *map(_samples, held)])


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    return np.asarray(frame.to_ndarray()[0], np.float32)
