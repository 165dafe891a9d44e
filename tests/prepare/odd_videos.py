"""Videos as people have them, made from a few real pictures: each maker writes one odd file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

Pictures = Sequence[NDArray[np.uint8]]
RATE = 25


class Sound(NamedTuple):
    """A sound track to be written beside the pictures."""

    samples: NDArray[np.float32]
    """Shape (channels, samples)."""
    rate_hz: int = 16000
    layout: str = "mono"
    codec: str = "aac"


def tone(seconds: float, rate_hz: int = 16000, channels: int = 1) -> NDArray[np.float32]:
    """A tone that swells. Shape (channels, samples)."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(9 * time)) / 2
    return np.tile(wave.astype(np.float32), (channels, 1))


def write_video(
    path: Path,
    pictures: Pictures,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    stamps: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, RATE),
    rotation: int | None = None,
    aspect: Fraction | None = None,
    sound: Sound | None = None,
) -> Path:
    """Write pictures, and perhaps a sound, with PyAV alone."""
    height, width = pictures[0].shape[:2] if len(pictures) else (0, 0)
    with av.open(str(path), "w") as container:
        if len(pictures):
            video = container.add_stream(codec, rate=RATE, options=options or {})
            video.width, video.height, video.pix_fmt = width, height, pix_fmt
            video.codec_context.time_base = time_base
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
            if rotation is not None:
                video.set_display_rotation(rotation)
        track = _add_sound(container, sound) if sound else None
        for index, pixels in enumerate(pictures):
            frame = _frame(pixels, pix_fmt)
            frame.pts = index if stamps is None else stamps[index]
            frame.time_base = time_base
            container.mux(video.encode(frame))
        if len(pictures):
            container.mux(video.encode(None))
        if sound and track:
            _write_sound(container, track, sound)
    return path


def _frame(pixels: NDArray[np.uint8], pix_fmt: str) -> av.VideoFrame:
    kind = "rgba" if pixels.shape[-1] == 4 else "rgb24"
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), kind).reformat(format=pix_fmt)


def _add_sound(container, sound: Sound):
    track = container.add_stream(sound.codec, rate=sound.rate_hz)
    track.codec_context.layout = sound.layout
    return track


def _write_sound(container, track, sound: Sound) -> None:
    form = track.codec_context.format.name if track.codec_context.format else "fltp"
    step = 1024
    for first in range(0, sound.samples.shape[1], step):
        block = sound.samples[:, first : first + step]
        if form == "flt":
            data = np.ascontiguousarray(block.T.reshape(1, -1))
        else:
            form, data = "fltp", np.ascontiguousarray(block)
        frame = av.AudioFrame.from_ndarray(data, form, sound.layout)
        frame.sample_rate, frame.pts = sound.rate_hz, first
        frame.time_base = Fraction(1, sound.rate_hz)
        container.mux(track.encode(frame))
    container.mux(track.encode(None))


def shorten(path: Path, share: float) -> Path:
    """Cut a file off, as a copy that was broken off leaves it."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    return path
