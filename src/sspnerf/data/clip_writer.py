"""Write a clip, under another name until it is whole, so that a folder which opens is complete."""

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from sspnerf.data.clip import ARRAYS, MANIFEST_NAME, Clip, open_clip
from sspnerf.data.manifest import ClipManifest
from sspnerf.errors import UsageError
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.media.audio import write_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ

try:
    import fcntl
except ImportError:  # not on Windows: there two writers are not kept apart
    fcntl = None  # type: ignore[assignment]


class ClipWriter:
    """Write a clip under a temporary name; `commit` gives it its name.

    A context manager. Left without `commit` (an error, Ctrl-C) it removes what it wrote, unless it
    is to be gone on with.

    Args:
        path: The clip's name.
        overwrite: Whether a clip of that name is replaced, when the new one is whole.
        keep: Whether what was not committed stays, and is there for the next writer of this name.

    Raises:
        UsageError: If the clip exists and may not be overwritten, if something else has its name,
            or if another program is writing it.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, keep: bool = False) -> None:
        """Claim the name `path`; nothing appears there before `commit`."""
        given, path = path, path.resolve()
        _mend(path)
        if path.exists() and not overwrite:
            raise UsageError(f"{given} exists already", "choose another name or pass --overwrite")
        if path.is_file() or (
            path.is_dir() and any(path.iterdir()) and not (path / MANIFEST_NAME).is_file()
        ):
            raise UsageError(
                f"{given} is no clip and is not overwritten", "choose another name or remove it"
            )
        self.path = path
        self.partial = partial_folder(path)
        self.scratch_folder = self.partial / "work"
        self._keep = keep
        self.partial.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.partial)
        if not keep:
            self._empty()
        self.scratch_folder.mkdir(exist_ok=True)

    def __enter__(self) -> "ClipWriter":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was not committed, unless it is kept."""
        if not self._keep:
            self.discard()
        self._unlock()

    def discard(self) -> None:
        """Remove what was not committed."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def create_array(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Make one of `ARRAYS` to be filled in place.

        Returns:
            A writable memory map of the specified type, zeros at first.

        Raises:
            OSError: If there is no space for it.
        """
        return allocate_array(self.partial / f"{name}.npy", shape, ARRAYS[name].dtype)

    def write_array(self, name: str, array: NDArray[Any]) -> None:
        """Write one of `ARRAYS`, cast to its specified type."""
        np.save(self._fresh(f"{name}.npy"), np.asarray(array, dtype=ARRAYS[name].dtype))

    def write_mesh(self, mesh: FaceMesh) -> None:
        """Write the face at rest."""
        np.savez(self._fresh("mesh.npz"), vertices=mesh.vertices, triangles=mesh.triangles)

    def write_background(self, background: NDArray[np.uint8]) -> None:
        """Write the picture behind the person, uint8 RGB (height, width, 3)."""
        Image.fromarray(background).save(self._fresh("background.png"))

    def write_background_seen(self, seen: NDArray[np.bool_]) -> None:
        """Write where the background was seen; elsewhere it is filled in. Shape (height, width)."""
        Image.fromarray(seen.astype(np.uint8) * 255).save(self._fresh("background_seen.png"))

    def write_speech(self, waveform: NDArray[np.float32]) -> None:
        """Write the sound, mono at 16 kHz in [-1, 1]."""
        write_waveform(self._fresh("speech.wav"), waveform, SPEECH_SAMPLE_RATE_HZ)

    def write_feature(self, name: str, features: NDArray[np.float32]) -> None:
        """Write speech features (feature_frames, feature_dim); the manifest must name them too."""
        np.save(self._fresh(f"features/{name}.npy"), features.astype(np.float32))

    def remove_features(self) -> None:
        """Remove all speech features: those of a clip that was taken over may not be wanted."""
        shutil.rmtree(self.partial / "features", ignore_errors=True)

    def write_truth(self, name: str, array: NDArray[Any]) -> None:
        """Write something that only a synthetic clip knows exactly."""
        np.save(self._fresh(f"truth/{name}.npy"), array)

    def take_over(self) -> None:
        """Begin with the files of the clip that is to be replaced: links to them, no copies."""
        for file in self.path.rglob("*"):
            target = self.partial / file.relative_to(self.path)
            if file.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                _link(file, target)

    def commit(self, manifest: ClipManifest) -> Clip:
        """Write the manifest, check the whole, and give the clip its name.

        Raises:
            ClipError: If an array is missing or does not fit the manifest; nothing appears then.
        """
        text = manifest.model_dump_json(indent=2) + "\n"
        self._fresh(MANIFEST_NAME).write_text(text, encoding="utf-8")
        open_clip(self.partial)
        if self.path.exists():
            discarded = _discarded(self.path)
            shutil.rmtree(discarded, ignore_errors=True)
            self.path.rename(discarded)
            self.partial.rename(self.path)
            shutil.rmtree(discarded)
        else:
            self.partial.rename(self.path)
        shutil.rmtree(self.path / self.scratch_folder.name, ignore_errors=True)
        return open_clip(self.path)

    def _fresh(self, name: str) -> Path:
        """Name a file to write anew: not into a file that another clip may share."""
        path = self.partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def _empty(self) -> None:
        for entry in self.partial.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def partial_folder(path: Path) -> Path:
    """Say where a clip lies until it is whole."""
    path = path.resolve()
    return path.with_name(f".{path.name}.partial")


def _discarded(path: Path) -> Path:
    return path.with_name(f".{path.name}.discarded")


def _mend(path: Path) -> None:
    """Undo what a program left that was killed while it gave a clip its name."""
    discarded = _discarded(path)
    if discarded.exists():
        if path.exists() or not (discarded / MANIFEST_NAME).is_file():
            shutil.rmtree(discarded)
        else:
            discarded.rename(path)
    if (path / MANIFEST_NAME).is_file():
        shutil.rmtree(path / "work", ignore_errors=True)


def allocate_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Make a .npy file to be filled in place, all of its space reserved.

    A disk that is full is so found out now, as an error: a memory map that grows into a full disk
    kills the program instead.

    Returns:
        A writable memory map, zeros.

    Raises:
        OSError: If there is no space for it.
    """
    path.unlink(missing_ok=True)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape).flush()
    try:
        reserve_space(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    filled: NDArray[Any] = np.load(path, mmap_mode="r+")
    return filled


def reserve_space(path: Path) -> None:
    """Let the disk hold all of a file that has holes.

    Raises:
        OSError: If there is no space for it; names the file.
    """
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif shutil.disk_usage(path.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        error.filename = str(path)
        raise


def _lock(folder: Path) -> int | None:
    """Keep other writers out for as long as this program lives, however it ends."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        clip = folder.name.removeprefix(".").removesuffix(".partial")
        raise UsageError(
            f"another program is writing {folder.with_name(clip)}", "wait until it has ended"
        ) from None
    return descriptor


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(source, target)
