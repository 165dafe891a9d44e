"""Read a video picture by picture.

Pictures are RGB uint8, shape (height, width, 3), upright, with square pixels, progressive. Times
are seconds from the first picture. Only a few pictures are in memory at a time, however long the
video is.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sspnerf.errors import MediaError
from sspnerf.media.container import (
    RE_ENCODE,
    check_complete,
    decoded_pictures,
    exact_rate,
    open_media,
    video_stream,
)

# Time stamps are often rounded to a millisecond.
_STAMP_ERROR_S = 0.001
_SQUARE = Fraction(1)


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, without reading all of it."""

    width: int
    """Pixels from left to right, after rotation, square."""
    height: int
    """Pixels from top to bottom, after rotation, square."""
    frame_rate_hz: float
    """Pictures per second; their mean where the rate varies."""
    duration_s: float
    """Length of the picture track in seconds."""
    has_sound: bool
    """Whether there is a sound track."""
    declared_s: float | None = None
    """Length that the file claims as a whole, seconds; more than there is where it is cut off."""


class Picture(NamedTuple):
    """A decoded picture that is turned into pixels when it is asked for: that costs as much."""

    time_s: float
    """From the first picture of the video."""
    frame: VideoFrame
    """As stored."""
    pixel_aspect: Fraction = _SQUARE
    """Width / height of a stored pixel."""

    def pixels(self) -> NDArray[np.uint8]:
        """Convert to RGB, upright, with square pixels. Shape (height, width, 3)."""
        width, height = self._square_size()
        if (width, height) == (self.frame.width, self.frame.height):
            stored = self.frame.to_ndarray(format="rgb24")
        else:
            stored = self.frame.reformat(
                width, height, "rgb24", interpolation="BICUBIC"
            ).to_ndarray()
        return _upright(self.frame, np.asarray(stored, np.uint8))

    def thumbnail(self, longest: int) -> NDArray[np.uint8]:
        """Convert to a small RGB picture, upright, quickly, whose longer side has so many px."""
        width, height = self._square_size()
        scale = longest / max(width, height)
        small = self.frame.reformat(
            max(1, round(width * scale)), max(1, round(height * scale)), "rgb24",
            interpolation="FAST_BILINEAR", threads=1,
        )  # fmt: skip
        return _upright(self.frame, np.asarray(small.to_ndarray(), np.uint8))

    def _square_size(self) -> tuple[int, int]:
        """Width and height at which the stored picture's pixels are square."""
        width, height, aspect = self.frame.width, self.frame.height, self.pixel_aspect
        if not Fraction(1, 10) < aspect < 10 or abs(aspect - 1) < Fraction(1, 100):
            return width, height
        # The side that is too short grows: nothing is lost.
        return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


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
        _, first = next(decoded_pictures(container, stream, path))
        height, width = Picture(0.0, first, _pixel_aspect(stream)).pixels().shape[:2]
        rate, duration, time_base = stream.average_rate, stream.duration, stream.time_base
        declared_s = None if container.duration is None else container.duration / av.time_base
    if rate is None or duration is None or time_base is None:
        return VideoInfo(width, height, *_measured(path, rate), has_sound, declared_s)
    duration_s = float(duration * time_base)
    return VideoInfo(width, height, float(rate), duration_s, has_sound, declared_s)


def read_pictures(path: str | Path) -> Iterator[Picture]:
    """Decode all pictures of a video, each with its time.

    Lazy: errors come with the first picture asked for, or where the file breaks. Interlaced
    pictures are deinterlaced.

    Args:
        path: A video file. Rotation and mirroring that the file asks for are applied by
            `Picture.pixels`.

    Yields:
        Pictures, in order of time.

    Raises:
        MediaError: If it is not a video that can be read, if the file is cut off, if decoding
            breaks part-way, or if the picture changes its size.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container, path)
        check_complete(stream, path)
        size: tuple[int, int] | None = None
        start_s, aspect = 0.0, _pixel_aspect(stream)
        for stamp_s, frame in _progressive(decoded_pictures(container, stream, path), stream):
            if size is None:
                size, start_s = (frame.height, frame.width), stamp_s
            if (frame.height, frame.width) != size:
                raise MediaError(
                    f"{path} changes its size at {stamp_s - start_s:.2f} s, from {size} to "
                    f"{(frame.height, frame.width)}",
                    RE_ENCODE,
                )
            yield Picture(stamp_s - start_s, frame, aspect)


def read_frames(path: str | Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Read all pictures of a video, upright, each with its time.

    Args:
        path: As for `read_pictures`.

    Yields:
        The time in seconds after the first picture, and the picture. Shape (height, width, 3).

    Raises:
        MediaError: As `read_pictures`.
    """
    for picture in read_pictures(path):
        yield picture.time_s, picture.pixels()


def resampled_pictures(
    path: str | Path, frame_rate_hz: float, *, first: int = 0
) -> Iterator[Picture]:
    """Decode a video at a constant rate, by repeating and leaving out pictures.

    Frame i is the picture that is on show just before the middle of [i, i + 1) / frame_rate_hz.
    At the video's own rate each picture passes exactly once, also with uneven time stamps.

    Args:
        path: A video file, of constant or varying rate.
        frame_rate_hz: Wanted pictures per second, > 0.
        first: Number of the frame to begin with; those before are decoded and not given.

    Yields:
        round(duration * frame_rate_hz) - first pictures; repeated ones are the same object.

    Raises:
        MediaError: As `read_pictures`.
        UsageError: If the rate is not possible.
    """
    rate = float(exact_rate(frame_rate_hz))
    shown: Picture | None = None
    interval_s, tick = 1.0 / rate, 0
    for picture in read_pictures(path):
        while shown is not None and (tick + 0.5) / rate - _STAMP_ERROR_S <= picture.time_s:
            if tick >= first:
                yield shown
            tick += 1
        if shown is not None and picture.time_s > shown.time_s:
            interval_s = picture.time_s - shown.time_s
        shown = picture
    # The last picture stays as long as the one before it.
    while shown is not None and (tick + 0.5) / rate < shown.time_s + interval_s - _STAMP_ERROR_S:
        if tick >= first:
            yield shown
        tick += 1


def resampled_frames(
    path: str | Path, frame_rate_hz: float, *, first: int = 0
) -> Iterator[NDArray[np.uint8]]:
    """Read a video at a constant rate (see `resampled_pictures`). Shape (height, width, 3)."""
    shown: Picture | None = None
    pixels = np.zeros((0, 0, 3), np.uint8)
    for picture in resampled_pictures(path, frame_rate_hz, first=first):
        if picture is not shown:
            shown, pixels = picture, picture.pixels()
        yield pixels


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


def _upright(frame: VideoFrame, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # The stubs of PyAV know one kind of side data only.
    matrix = cast(Mapping[str, bytes], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    # Rows a, b, u and c, d, v and x, y, w of fixed-point numbers.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return upright(pixels, (a, b, c, d))


def _pixel_aspect(stream: VideoStream) -> Fraction:
    return stream.sample_aspect_ratio or _SQUARE


def _progressive(
    pictures: Iterator[tuple[float, VideoFrame]], stream: VideoStream
) -> Iterator[tuple[float, VideoFrame]]:
    """Deinterlace what the file calls interlaced; one picture for each, at its time."""
    graph: Graph | None = None
    waiting: deque[float] = deque()
    for stamp_s, frame in pictures:
        if graph is None and not frame.interlaced_frame:
            yield stamp_s, frame
            continue
        graph = graph or _deinterlacer(stream)
        waiting.append(stamp_s)
        graph.push(frame)
        yield from ((waiting.popleft(), ready) for ready in _ready(graph))
    if graph is not None:
        graph.push(None)
        yield from ((waiting.popleft(), ready) for ready in _ready(graph))


def _deinterlacer(stream: VideoStream) -> Graph:
    graph = Graph()
    source = graph.add_buffer(template=stream)
    # Pictures that are not marked as interlaced pass unchanged.
    filtered = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    source.link_to(filtered)
    filtered.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield cast(VideoFrame, graph.pull())
        except (BlockingIOError, EOFError):
            return


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
