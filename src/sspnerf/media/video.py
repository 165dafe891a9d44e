"""Read a video picture by picture, and write a film with sound.

Pictures are RGB uint8, shape (height, width, 3), upright. Times are seconds from the first
picture. Only a few pictures are in memory at a time, however long the video is.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.container import (
    RE_ENCODE,
    check_complete,
    check_target,
    decoded_pictures,
    open_media,
    video_stream,
)
from sspnerf.media.speech import check_waveform

_AAC_RATES_HZ = (
    *(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
)
_AAC_BLOCK = 1024
# Time stamps are often rounded to a millisecond.
_STAMP_ERROR_S = 0.001


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, without reading all of it."""

    width: int
    """Pixels from left to right, after rotation."""
    height: int
    """Pixels from top to bottom, after rotation."""
    frame_rate_hz: float
    """Pictures per second; their mean where the rate varies."""
    duration_s: float
    """Length of the picture track in seconds."""
    has_sound: bool
    """Whether there is a sound track."""


def probe_video(path: str | Path) -> VideoInfo:
    """Say how large, fast and long a video is; decodes its first picture only.

    Raises:
        MediaError: If it is not a video that can be read, or if the file is cut off.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container, path)
        check_complete(stream, path)
        has_sound = bool(container.streams.audio)
        _, picture = next(decoded_pictures(container, stream, path))
        height, width = _upright_rgb(picture).shape[:2]
        rate, duration, time_base = stream.average_rate, stream.duration, stream.time_base
    if rate is None or duration is None or time_base is None:
        return VideoInfo(width, height, *_measured(path, rate), has_sound)
    return VideoInfo(width, height, float(rate), float(duration * time_base), has_sound)


def read_frames(path: str | Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Read all pictures of a video, upright, each with its time.

    Lazy: errors come with the first picture asked for, or where the file breaks.

    Args:
        path: A video file. Rotation and mirroring that the file asks for are applied.

    Yields:
        The time in seconds after the first picture, and the picture. Shape (height, width, 3).

    Raises:
        MediaError: If it is not a video that can be read, if the file is cut off, if decoding
            breaks part-way, or if the picture changes its size.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container, path)
        check_complete(stream, path)
        shape: tuple[int, ...] | None = None
        start_s = 0.0
        for stamp_s, frame in decoded_pictures(container, stream, path):
            picture = _upright_rgb(frame)
            if shape is None:
                shape, start_s = picture.shape, stamp_s
            if picture.shape != shape:
                raise MediaError(
                    f"{path} changes its size at {stamp_s - start_s:.2f} s, from {shape[:2]} to "
                    f"{picture.shape[:2]}",
                    RE_ENCODE,
                )
            yield stamp_s - start_s, picture


def resampled_frames(path: str | Path, frame_rate_hz: float) -> Iterator[NDArray[np.uint8]]:
    """Read a video at a constant rate, by repeating and leaving out pictures.

    Frame i is the picture that is on show just before the middle of [i, i + 1) / frame_rate_hz.
    At the video's own rate each picture passes exactly once, also with uneven time stamps.

    Args:
        path: A video file, of constant or varying rate.
        frame_rate_hz: Wanted pictures per second, > 0.

    Yields:
        Pictures, round(duration * frame_rate_hz) of them. Shape (height, width, 3).

    Raises:
        MediaError: As `read_frames`.
        UsageError: If the rate is not possible.
    """
    rate = float(_exact_rate(frame_rate_hz))
    shown: NDArray[np.uint8] | None = None
    shown_s, interval_s, tick = 0.0, 1.0 / rate, 0
    for time_s, picture in read_frames(path):
        while shown is not None and (tick + 0.5) / rate - _STAMP_ERROR_S <= time_s:
            yield shown
            tick += 1
        if time_s > shown_s:
            interval_s = time_s - shown_s
        shown, shown_s = picture, time_s
    # The last picture stays as long as the one before it.
    while shown is not None and (tick + 0.5) / rate < shown_s + interval_s - _STAMP_ERROR_S:
        yield shown
        tick += 1


def upright(image: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Turn and mirror a picture as its display matrix asks, to the nearest quarter turn.

    A pixel at (x, y), y down, is shown at (a x + c y, b x + d y), moved into view.

    Args:
        image: The picture as stored. Shape (height, width, channels).
        matrix: The entries a, b, c, d; only signs and which are larger count.

    Returns:
        The picture as shown. Shape (height, width, channels) or (width, height, channels).

    Example:
        >>> pixels = np.array([[1, 2, 3]], np.uint8)[..., None]
        >>> upright(pixels, (0, 1, -1, 0))[..., 0]  # a quarter turn clockwise
        array([[1],
               [2],
               [3]], dtype=uint8)
    """
    a, b, c, d = matrix
    is_turned = abs(b) + abs(c) > abs(a) + abs(d)
    if is_turned:
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


class FilmWriter:
    """Write a film, H.264 in MP4, with AAC sound in step; the file appears whole or not at all.

    A context manager: the film is built in ``.NAME.partial.mp4`` beside the target, which takes
    its place when the block ends well and is removed when it does not. An odd width or height is
    made even by repeating the last column or row, because H.264 stores colour at half size. Colour
    is BT.709, quality crf 18. The sound lasts as long as the shorter of picture and waveform; it is
    encoded along with the pictures, never ahead of them.

    Example:
        >>> size = {"width": 64, "height": 48}
        >>> with FilmWriter("film.mp4", **size, frame_rate_hz=25) as film:  # doctest: +SKIP
        ...     film.write(np.zeros((48, 64, 3), np.uint8))
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        frame_rate_hz: float,
        waveform: NDArray[np.floating] | None = None,
        sample_rate_hz: int = 16000,
    ) -> None:
        """Check the request; the file is opened on entering the block.

        Args:
            path: The film to write, ``.mp4``, in a folder that exists; replaced if there is one.
            width: Width of each frame in px, >= 16.
            height: Height of each frame in px, >= 16.
            frame_rate_hz: Frames per second; 29.97002997 is understood as 30000/1001.
            waveform: The sound from the first frame on, in [-1, 1] (louder is clipped).
                Shape (samples,). None for a silent film.
            sample_rate_hz: The waveform's rate, one that AAC knows: 16000, 44100, 48000 ...

        Raises:
            UsageError: If size, rate or file name are not possible.
            MediaError: If the folder does not exist, or the waveform is not mono and finite.
        """
        if min(width, height) < 16:
            raise UsageError(f"a film of {width}x{height} px is not possible; expected 16 or more")
        if sample_rate_hz not in _AAC_RATES_HZ:
            raise UsageError(
                f"AAC cannot hold sound of {sample_rate_hz} Hz",
                f"Read the recording at one of {', '.join(map(str, _AAC_RATES_HZ))}.",
            )
        if waveform is not None:
            check_waveform(waveform, sample_rate_hz=sample_rate_hz)
        self._path, self._partial = check_target(path, ".mp4")
        self._shape = (height, width, 3)
        self._rate = _exact_rate(frame_rate_hz)
        self._waveform = waveform if waveform is not None and len(waveform) else None
        self._sample_rate_hz = sample_rate_hz
        self._frames = 0

    def __enter__(self) -> "FilmWriter":
        """Open the partial file and both tracks."""
        try:
            with self._writing():
                self._container = av.open(
                    str(self._partial.absolute()),
                    "w",
                    format="mp4",
                    options={"movflags": "+faststart"},
                )
                self._video = self._add_picture(self._container)
                self._sound = None
                if self._waveform is not None:
                    self._sound = _SoundTrack(self._container, self._waveform, self._sample_rate_hz)
                # A folder that cannot be written to shall say so before the first frame is made.
                self._container.start_encoding()
        except BaseException:
            with contextlib.suppress(OSError):
                self._partial.unlink()
            raise
        return self

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, and the sound up to its end.

        Args:
            frame: RGB. Shape (height, width, 3).

        Raises:
            MediaError: If the frame has another shape or type, or the disk is full.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise MediaError(
                f"frame {self._frames} is {frame.dtype} {frame.shape}; expected uint8 {self._shape}"
            )
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(even), "rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = self._frames, 1 / self._rate
        with self._writing():
            self._container.mux(self._video.encode(picture))
            self._frames += 1
            if self._sound:
                self._sound.write_until(self._frames / self._rate)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the film and put it in its place, or remove all traces of it."""
        try:
            if kind is None:
                self._finish()
        finally:
            # After an error the film may be too broken to be closed in order.
            with contextlib.suppress(FFmpegError, OSError):
                self._container.close()
            self._partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._frames == 0:
            raise MediaError(f"no frame was written to {self._path}; a film needs one at least")
        with self._writing():
            if self._sound:
                self._sound.finish(self._frames / self._rate)
            self._container.mux(self._video.encode(None))
            self._container.close()
            self._partial.replace(self._path)

    def _add_picture(self, container: OutputContainer) -> VideoStream:
        stream = container.add_stream("libx264", rate=self._rate, options={"crf": "18"})
        height, width, _ = self._shape
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        # Without these tags a player guesses the colours from the size of the picture.
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        return stream

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            raise MediaError(
                f"{self._path} cannot be written: {error.strerror}",
                "Choose a folder that is writable and has space.",
            ) from error


class _SoundTrack:
    """The AAC track of a film, fed along with the pictures."""

    def __init__(
        self, container: OutputContainer, waveform: NDArray[np.floating], rate_hz: int
    ) -> None:
        self._container, self._waveform, self._rate_hz = container, waveform, rate_hz
        self._stream: AudioStream = container.add_stream("aac", rate=rate_hz)
        self._stream.codec_context.layout = "mono"
        self._stream.codec_context.bit_rate = min(4 * rate_hz, 160_000)
        self._position = 0

    def write_until(self, time_s: Fraction) -> None:
        """Encode the whole blocks that end before a time."""
        while self._position + _AAC_BLOCK <= self._end(time_s):
            self._write(_AAC_BLOCK)

    def finish(self, time_s: Fraction) -> None:
        """Encode what is left before the end of the film."""
        self.write_until(time_s)
        if self._position < self._end(time_s):
            self._write(self._end(time_s) - self._position)
        self._container.mux(self._stream.encode(None))

    def _end(self, time_s: Fraction) -> int:
        return min(len(self._waveform), math.floor(time_s * self._rate_hz))

    def _write(self, samples: int) -> None:
        block = self._waveform[self._position : self._position + samples].astype(np.float32)
        frame = AudioFrame.from_ndarray(np.clip(block, -1.0, 1.0)[None], "fltp", "mono")
        frame.sample_rate = self._rate_hz
        frame.pts, frame.time_base = self._position, Fraction(1, self._rate_hz)
        self._position += samples
        self._container.mux(self._stream.encode(frame))


def _upright_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    # The stubs of PyAV know one kind of side data only.
    matrix = cast(Mapping[str, bytes], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    # Rows a, b, u and c, d, v and x, y, w of fixed-point numbers.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return upright(pixels, (a, b, c, d))


def _exact_rate(frame_rate_hz: float) -> Fraction:
    """Understand 29.97002997 as 30000/1001, so that a long film stays in step."""
    if not 0.01 <= frame_rate_hz <= 1000:
        raise UsageError(f"{frame_rate_hz} frames per second are not possible; expected 0.01-1000")
    return Fraction(float(frame_rate_hz)).limit_denominator(30_000)


def _measured(path: Path, declared: Fraction | None) -> tuple[float, float]:
    """Count pictures where the file does not say how many; the rate, and the duration in s."""
    with open_media(path) as container:
        stream = video_stream(container, path)
        try:
            packets = [(p.pts, p.time_base) for p in container.demux(stream) if p.size]
        except FFmpegError as error:
            raise MediaError(f"{path} cannot be read to its end", RE_ENCODE) from error
    stamps = [float(pts * base) for pts, base in packets if pts is not None]
    span_s = max(stamps) - min(stamps) if len(stamps) == len(packets) and stamps else 0.0
    if span_s == 0.0:
        if declared is None:
            raise MediaError(f"{path} does not say how fast its pictures follow", RE_ENCODE)
        return float(declared), float(len(packets) / declared)
    rate = (len(stamps) - 1) / span_s
    # Stamps are rounded; where they agree, the declared fraction is the exact one.
    if declared is not None and abs(declared / rate - 1) < 0.02:
        return float(declared), len(stamps) / float(declared)
    return rate, len(stamps) / rate
