"""Portrait + speech -> frames -> a film with sound."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.audio import read_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ, check_waveform
from sspnerf.render.frame_arrays import FrameArrays
from sspnerf.render.hearing import Hearing
from sspnerf.render.portrait import Portrait, RenderedFrame
from sspnerf.render.show import Show, depth_range
from sspnerf.render.show import show as draw
from sspnerf.render.workers import Behind, check_jobs, in_order

Torso = Literal["tracked", "follow"]
Rendered = TypeVar("Rendered")
# Rotations of float32 poses, multiplied a few times, are off by less than this.
RIGID_TOLERANCE = 1e-3


class Film:
    """A film to be: iterate over it to render its frames one by one, or `save` it.

    Memory does not grow with its length, apart from the sound itself.

    Attributes:
        frames: How many there will be.
        poses: camera_to_world of the film's frames. Shape (frames, 4, 4).
        torso_poses: The same with the torso held still. Shape (frames, 4, 4).
    """

    def __init__(
        self,
        portrait: Portrait,
        waveform: NDArray[np.float32],
        *,
        poses: Float[Tensor, "poses 4 4"] | None = None,
        torso: Torso = "tracked",
        feature_file: Path | None = None,
    ) -> None:
        """Prepare the speech; nothing is rendered yet.

        Args:
            portrait: Who speaks.
            waveform: What is said, mono at 16 kHz in [-1, 1]. Shape (samples,).
            poses: camera_to_world to show, there and back; None: the clip's. Shape (poses, 4, 4).
            torso: Whether the torso moves as in the clip, or follows the head; with `poses` it
                always follows.
            feature_file: The waveform's features, for a portrait that listens to brought ones.
        """
        self.portrait = portrait
        self.waveform = waveform
        seconds = len(waveform) / SPEECH_SAMPLE_RATE_HZ
        self.frames = max(1, round(seconds * portrait.info.frame_rate_hz))
        self._hearing = Hearing(portrait, waveform, frames=self.frames, feature_file=feature_file)
        piece = longest_piece(portrait.frames, portrait.info.cuts)
        self._clip_frame = [piece.start + there_and_back(i, len(piece)) for i in range(self.frames)]
        if poses is None:
            self.poses = portrait.poses[self._clip_frame]
        else:
            self.poses = poses[[there_and_back(i, len(poses)) for i in range(self.frames)]]
        if poses is None and torso == "tracked":
            self.torso_poses = portrait.torso_poses[self._clip_frame]
        else:
            self.torso_poses = portrait.torso_follower.predict(
                self.poses, frame_rate_hz=portrait.info.frame_rate_hz
            )

    def __len__(self) -> int:
        """Count the frames."""
        return self.frames

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Render frame by frame, RGB (height, width, 3); as `pictures`."""
        return self.pictures()

    def pictures(self, *, jobs: int | None = None) -> Generator[NDArray[np.uint8], None, None]:
        """Render the pictures alone, frame by frame, a few ahead of the one that is wanted.

        Args:
            jobs: Frames rendered at once, which share the cores among them; None: as many as there
                are cores. 1: nothing is rendered ahead.

        Returns:
            RGB, shape (height, width, 3) each; the colors of `render`, sooner.

        Raises:
            UsageError: If `jobs` is less than 1.
            BackendError: If this machine can render only one frame at once, and more are wanted.
        """
        return self._render(self.portrait.render_color, check_jobs(jobs))

    def render(self, *, jobs: int | None = None) -> Generator[RenderedFrame, None, None]:
        """Render frame by frame, with labels and distances; arguments as of `pictures`."""
        return self._render(self.portrait.render_frame, check_jobs(jobs))

    def _render(
        self, render: Callable[..., Rendered], jobs: int
    ) -> Generator[Rendered, None, None]:
        def one(asked: tuple[int, Tensor]) -> Rendered:
            index, speech = asked
            return render(
                speech,
                clip_frame=self._clip_frame[index],
                pose=self.poses[index],
                torso_pose=self.torso_poses[index],
            )

        return in_order(one, enumerate(self._hearing), jobs=jobs)

    def save(
        self,
        path: Path | str,
        *,
        show: Show = "color",
        arrays: Path | str | None = None,
        overwrite: bool = False,
        jobs: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Render everything and write an mp4 (H.264, AAC) with the sound in step.

        Frames are written in a thread of their own, while the next are rendered.

        Args:
            path: The film's name; appears when it is complete, and replaces an older one.
            show: What the film shows: the picture, or one of the maps that `render.show` draws.
            arrays: Folder for each frame's numbers (see `FrameArrays`); appears when complete.
            overwrite: Replace arrays that are there.
            jobs: Frames rendered at once; see `pictures`.
            progress: Called with frames rendered and frames in all.

        Returns:
            The film's path.

        Raises:
            UsageError: If `arrays` is not empty and is not to be overwritten, or `jobs` is less
                than 1.
            BackendError: As of `pictures`.
            MediaError: If the film cannot be written.
        """
        path, info, jobs = Path(path), self.portrait.info, check_jobs(jobs)
        with contextlib.ExitStack() as stack:
            folder = None
            if arrays is not None:
                folder = stack.enter_context(FrameArrays(Path(arrays), overwrite=overwrite))
            writer = stack.enter_context(
                FilmWriter(
                    path,
                    width=info.width,
                    height=info.height,
                    frame_rate_hz=info.frame_rate_hz,
                    waveform=self.waveform,
                    sample_rate_hz=SPEECH_SAMPLE_RATE_HZ,
                )
            )
            if show == "color" and folder is None:
                self._write(self.pictures(jobs=jobs), writer.write, progress)
                return path
            depth = depth_range(self.poses)

            def write(frame: RenderedFrame) -> None:
                writer.write(draw(frame, what=show, intrinsics=info.intrinsics, depth=depth))
                if folder is not None:
                    folder.write(frame)

            self._write(self.render(jobs=jobs), write, progress)
        return path

    def _write(
        self,
        frames: Generator[Rendered, None, None],
        write: Callable[[Rendered], None],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Write frames behind their rendering."""
        with contextlib.closing(frames), Behind(write) as behind:
            for done, frame in enumerate(frames, start=1):
                behind.put(frame)
                if progress is not None:
                    progress(done, self.frames)


def speak(
    portrait: Portrait,
    speech: Path | str | NDArray[np.float32],
    *,
    poses: NDArray[np.floating] | None = None,
    torso: Torso | None = None,
    feature_file: Path | str | None = None,
) -> Film:
    """Let a portrait say a recording, with the blinks of its clip.

    Args:
        portrait: Who speaks.
        speech: A sound or video file, or a waveform: mono at 16 kHz in [-1, 1].
        poses: Head poses at the portrait's frame rate, camera_to_world; walked through there and
            back if they are fewer than the film's frames. None: the clip's. Shape (poses, 4, 4).
        torso: "tracked": as in the clip, the default for the clip's poses. "follow": predicted
            from the head's, the only choice for others.
        feature_file: The recording's features as .npy, for a portrait that was trained with
            features of the kind `npy` or imported ones, and only for such a one.

    Returns:
        The film, which renders while one iterates over it.

    Raises:
        MediaError: If the file cannot be read or holds no sound, or the waveform is not finite.
        UsageError: If the waveform is not of floats, the poses are not rigid transforms, the
            clip's torso is wanted for other poses, or the features do not fit the portrait.
        PortraitError: If the network that the portrait listens with is not the one of its training.
        SspnerfError: If that network cannot be had.
    """
    shown = None if poses is None else check_poses(poses)
    if shown is not None and torso == "tracked":
        raise UsageError(
            "the clip's torso does not fit other head poses",
            'let it follow them: torso "follow", or none given',
        )
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
    file = None if feature_file is None else Path(feature_file)
    return Film(portrait, waveform, poses=shown, torso=torso or "tracked", feature_file=file)


def read_poses(path: Path) -> NDArray[np.floating]:
    """Read an array of head poses; `speak` checks what it holds.

    Raises:
        UsageError: If the file is no NumPy array.
    """
    hint = "write one with numpy.save: camera_to_world of each frame, (frames, 4, 4)"
    if not path.is_file():
        raise UsageError(f"{path} does not exist", hint)
    try:
        poses = np.load(path)
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path} is no NumPy array of numbers", hint) from error
    if not isinstance(poses, np.ndarray):
        poses.close()
        raise UsageError(f"{path} holds more than one array", hint)
    return poses


def check_poses(poses: NDArray[np.floating]) -> Float[Tensor, "poses 4 4"]:
    """Take over head poses given by a user.

    Args:
        poses: camera_to_world. Shape (poses, 4, 4).

    Raises:
        UsageError: If there are none, or they are not finite, rigid transforms.
    """
    hint = "give camera_to_world of each frame, (frames, 4, 4); see docs/conventions.md"
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or not len(poses):
        raise UsageError(f"the poses have shape {poses.shape}; expected (frames, 4, 4)", hint)
    if not np.issubdtype(poses.dtype, np.floating):
        raise UsageError(f"the poses are {poses.dtype}; expected floats", hint)
    if not np.isfinite(poses).all():
        wrong = int(np.argmin(np.isfinite(poses).all(axis=(1, 2))))
        raise UsageError(f"pose {wrong} is not finite", hint)
    rotation = poses[:, :3, :3].astype(np.float64)
    off = np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max(axis=(1, 2))
    off = np.maximum(off, np.abs(poses[:, 3] - (0, 0, 0, 1)).max(axis=1))
    rigid = (off < RIGID_TOLERANCE) & (np.linalg.det(rotation) > 0)
    if not rigid.all():
        wrong = int(np.argmin(rigid))
        raise UsageError(f"pose {wrong} is not a rotation and a shift", hint)
    return torch.from_numpy(poses.astype(np.float32))


def longest_piece(frames: int, cuts: Sequence[int]) -> range:
    """Choose the longest stretch of a clip without a cut; the first of several.

    Example:
        >>> longest_piece(10, (2, 7))
        range(2, 7)
    """
    return max((range(*edges) for edges in pairwise((0, *cuts, frames))), key=len)


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
