"""Write a film with sound, frame by frame.

Pictures are RGB uint8, shape (height, width, 3).
"""

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

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
from sspnerf.media.container import check_target, exact_rate
from sspnerf.media.speech import check_waveform

_AAC_RATES_HZ = (
    *(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
)
_AAC_BLOCK = 1024


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
        preset: str = "medium",
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
            preset: Of x264: a faster one makes larger files of the same quality.

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
        self._rate = exact_rate(frame_rate_hz)
        self._waveform = waveform if waveform is not None and len(waveform) else None
        self._sample_rate_hz = sample_rate_hz
        self._frames = 0
        self._options = {"crf": "18", "preset": preset}

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
        stream = container.add_stream("libx264", rate=self._rate, options=self._options)
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
