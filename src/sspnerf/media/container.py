"""Open media files with errors that a person can act on, and name the files to write."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sspnerf.errors import MediaError, UsageError

_COPY_AGAIN = "Play it in a player; if it stops there too, copy or record it again."
_LARGEST_GAP_S = 60.0
RE_ENCODE = "Convert it with `ffmpeg -i IN OUT.mp4` and give that."


def open_media(path: Path) -> InputContainer:
    """Open a file for reading; the caller closes it.

    Raises:
        MediaError: If there is no such file, or it is a folder, empty, cut off or of another kind.
    """
    if path.is_dir():
        raise MediaError(
            f"{path} is a folder; expected a video or sound file", "Name the file inside it."
        )
    try:
        with path.open("rb") as file:
            head = file.read(8)
            is_cut = head[4:] == b"ftyp" and not _has_whole_index(file, path.stat().st_size)
    except OSError as error:
        raise MediaError(
            f"{path} cannot be read: {error.strerror}; expected a video or sound file",
            "Check the spelling of the name and the permission to read it.",
        ) from error
    if not head:
        raise MediaError(f"{path} is empty; expected a video or sound file", _COPY_AGAIN)
    if is_cut:
        raise MediaError(f"{path} is cut off: the index of this MP4 is missing", _COPY_AGAIN)
    try:
        # An absolute path, because FFmpeg takes `take2:final.mp4` for a protocol.
        return av.open(str(path.absolute()), "r")
    except FFmpegError as error:
        raise MediaError(
            f"{path} is not a video or sound file that can be read",
            "Give an MP4, MOV, MKV, WebM or WAV file.",
        ) from error


def _has_whole_index(file: BinaryIO, size: int) -> bool:
    """Walk the outer boxes of an MP4 to its index; half of one loses tracks without an error."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # the true length follows as a 64-bit number
            length = int.from_bytes(head[8:], "big")
        if length == 0:  # up to the end of the file
            length = size - start
        if head[4:8] == b"moov":
            return start + length <= size
        start += max(length, 8)
    return False


def check_complete(stream: Stream, path: Path) -> None:
    """Refuse an MP4 whose data ends before its index does: decoders would end early in silence.

    Raises:
        MediaError: If the file is cut off; names the time.
    """
    entries, time_base = stream.index_entries, stream.time_base
    if "mov" not in stream.container.format.name or time_base is None or len(entries) == 0:
        return
    size = path.stat().st_size
    first_missing = next((e for e in entries if e.pos + e.size > size), None)
    if first_missing is not None:
        start = entries[0].timestamp
        missing_s = float((first_missing.timestamp - start) * time_base)
        whole_s = float((entries[len(entries) - 1].timestamp - start) * time_base)
        raise MediaError(
            f"{path} is cut off: its {stream.type} ends at {missing_s:.2f} s of {whole_s:.2f} s",
            _COPY_AGAIN,
        )


def check_target(path: str | Path, suffix: str) -> tuple[Path, Path]:
    """Name the file to write and the hidden partial file beside it, which replaces it at the end.

    Raises:
        UsageError: If the name does not end in the suffix.
        MediaError: If the folder does not exist or the name is that of a folder.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise UsageError(
            f"{path.name} does not end in {suffix}", f"Name it {path.with_suffix(suffix).name}."
        )
    if path.is_dir():
        raise MediaError(f"{path} is a folder; expected the name of a file", "Choose another name.")
    if not path.parent.is_dir():
        raise MediaError(f"the folder {path.parent} does not exist", "Create it first.")
    return path, path.with_name(f".{path.stem}.partial{suffix}")


def picture_start_s(path: Path) -> float | None:
    """Give the time stamp of the first picture in seconds, or None where there is no picture."""
    with open_media(path) as container:
        try:
            stream = video_stream(container, path)
            stamp_s, _ = next(decoded_pictures(container, stream, path))
        except MediaError:
            return None
    return stamp_s


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Choose the first moving picture; covers of songs, photos and text are none.

    Raises:
        MediaError: If there is none.
    """
    kind = container.format.name
    is_still = kind in {"image2", "tty"} or kind.endswith("_pipe")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if is_still or not streams:
        raise MediaError(
            f"{path} holds no moving picture; expected a video",
            "Give a video file such as MP4, MOV, MKV or WebM.",
        )
    return streams[0]


def decoded_pictures(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[tuple[float, VideoFrame]]:
    """Decode picture by picture.

    Where time stamps go back (two recordings in one file) the second goes on after the first.

    Yields:
        The time stamp in seconds, growing from the file's own first one, and the picture.

    Raises:
        MediaError: If decoding breaks, naming the time since the first picture; if there is none;
            if the time stamps leave out a minute.
    """
    stream.thread_type = "AUTO"
    interval_s = float(1 / stream.average_rate) if stream.average_rate else 0.0
    first_s: float | None = None
    stamp_s, moved_s = 0.0, 0.0
    frames = container.decode(stream)
    while True:
        try:
            frame = next(frames, None)
        except FFmpegError as error:
            raise MediaError(
                f"{path} breaks at {stamp_s - (first_s or 0.0):.2f} s: {error.strerror}",
                RE_ENCODE,
            ) from error
        if frame is None:
            break
        # Raw streams have no stamps: count instead.
        counted_s = 0.0 if first_s is None else stamp_s + interval_s
        told_s = counted_s if frame.time is None else frame.time + moved_s
        if first_s is not None and told_s <= stamp_s:
            moved_s += counted_s - told_s
            told_s = counted_s
        if first_s is not None and told_s - stamp_s > _LARGEST_GAP_S:
            raise MediaError(f"the picture of {path} jumps by {told_s - stamp_s:.0f} s", RE_ENCODE)
        stamp_s = told_s
        first_s = stamp_s if first_s is None else first_s
        yield stamp_s, frame
    if first_s is None:
        raise MediaError(f"{path} holds no picture that can be decoded", RE_ENCODE)


def exact_rate(frame_rate_hz: float) -> Fraction:
    """Understand 29.97002997 as 30000/1001, so that a long film stays in step."""
    if not 0.01 <= frame_rate_hz <= 1000:
        raise UsageError(f"{frame_rate_hz} frames per second are not possible; expected 0.01-1000")
    return Fraction(float(frame_rate_hz)).limit_denominator(30_000)
