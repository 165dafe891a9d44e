"""What the stages of `prepare` share: arrays, findings, what is done already, who is told.

Everything lies in files: in `.CLIP.partial`, the clip as far as it is, and in its subfolder `work`,
what does not stay. A stage that has ended leaves `work/STAGE.json` with the hash of its input. So
nothing is lost when the program is killed, and nothing is believed that was made from other input.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import ValidationError

from sspnerf.config import PrepareConfig
from sspnerf.data.clip import ARRAYS
from sspnerf.data.clip_writer import ClipWriter, allocate_array, reserve_space
from sspnerf.data.manifest import StageRecord
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.found import Found, Track

Progress = Callable[[str, int, int], None]
Warn = Callable[[str], None]
Scalar = str | int | float | bool | None
F = TypeVar("F", bound=Found)


class StoppedError(Exception):
    """A thread was asked to stop."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of `prepare`."""

    run: "Callable[[Workspace], Found]"
    found: type[Found]
    needs: tuple[str, ...] = ()
    """Stages whose arrays or findings it reads."""
    settings: Callable[[PrepareConfig], dict[str, Scalar]] = field(default=lambda _: {})
    """What it depends on besides."""
    leaves: tuple[str, ...] = ()
    """Files of the clip that it writes."""
    scratch: tuple[str, ...] = ()
    """Arrays that it writes and the clip does not keep."""
    reads: tuple[str, ...] = ()
    """Such arrays of earlier stages without which it cannot run."""
    version: int = 1
    """To be counted up when the same input gives another result."""


@dataclass(kw_only=True)
class Workspace:
    """One `prepare` in progress."""

    video: Path
    settings: PrepareConfig
    writer: ClipWriter
    progress: Progress
    warn: Warn
    records: dict[str, StageRecord] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when threads shall not finish what they are at."""
    _stage: str = ""
    _goes_on: bool = False
    _began_s: float = 0.0
    _left: list[str] = field(default_factory=list)
    _warnings: list[str] = field(default_factory=list)
    _found: dict[type[Found], Found] = field(default_factory=dict)
    _maps: dict[str, NDArray[Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def scratch_folder(self) -> Path:
        """Where lies what the clip does not keep."""
        return self.writer.scratch_folder

    def found(self, kind: type[F]) -> F:
        """Return what an earlier stage has found out."""
        found = self._found[kind]
        assert isinstance(found, kind)  # noqa: S101
        return found

    @property
    def intrinsics(self) -> Intrinsics:
        """The clip's camera; known after `tracking`."""
        side = self.settings.size
        return Intrinsics(**self.found(Track).camera.model_dump(), width=side, height=side)

    def mesh(self) -> FaceMesh:
        """Read the face at rest; known after `tracking`."""
        with np.load(self.writer.partial / "mesh.npz") as arrays:
            return FaceMesh(vertices=arrays["vertices"], triangles=arrays["triangles"])

    # --- stages ----------------------------------------------------------------------------------

    def begin(self, name: str, stage: Stage, input_hash: str) -> None:
        """Start a stage, or go on with it where it was begun with the same input.

        From here on it is not done, whatever was noted; unless it goes on, nothing of what it left
        earlier stays, and no file is shared with a clip that is to be replaced.
        """
        self._stage, self._warnings, self._began_s = name, [], time.monotonic()
        self._left = list(stage.leaves)
        record, note = self.read_record(name), self.scratch_folder / f"{name}.begun"
        (self.scratch_folder / f"{name}.json").unlink(missing_ok=True)
        self._goes_on = note.is_file() and note.read_text() == input_hash
        if not self._goes_on:
            self._forget_chunks(name)
            for file in {*stage.leaves, *(record.leaves if record else ())}:
                (self.writer.partial / file).unlink(missing_ok=True)
            for array in stage.scratch:
                self._path(array).unlink(missing_ok=True)
            write_text(note, input_hash)

    def note_left(self, file: str) -> None:
        """Note a file of the clip that this stage writes now, and does not always write."""
        self._left.append(file)

    def end(self, name: str, found: Found, record: StageRecord) -> None:
        """Note that a stage is done; from here on it is not done again."""
        for array in self._maps.values():
            if isinstance(array, np.memmap):
                array.flush()
        self._found[type(found)] = found
        self.records[name] = record.model_copy(
            update={
                "found": found.model_dump(mode="json"),
                "warnings": tuple(self._warnings),
                "leaves": tuple(self._left),
                "seconds": round(record.seconds + time.monotonic() - self._began_s, 2),
            }
        )
        write_text(self.scratch_folder / f"{name}.json", self.records[name].model_dump_json())
        self._forget_chunks(name)

    def adopt(self, name: str, stage: Stage, record: StageRecord) -> None:
        """Take over a stage that an earlier run has ended."""
        self.records[name] = record
        self._found[stage.found] = stage.found.model_validate(record.found)
        self.progress(name, 1, 1)
        for line in record.warnings:
            self.warn(line)

    def read_record(self, name: str) -> StageRecord | None:
        """Read how an earlier run has ended a stage; None if it has not."""
        return read_record(self.scratch_folder / f"{name}.json")

    def note_warning(self, line: str) -> None:
        """Tell of something that is not as it should be, now and in clip.json."""
        self._warnings.append(line)
        self.warn(line)

    # --- chunks of a stage -----------------------------------------------------------------------

    def is_done(self, chunk: range) -> bool:
        """Say whether an interrupted run has finished these frames."""
        return self._mark(chunk).exists()

    def mark_done(self, chunk: range) -> None:
        """Note that these frames need not be done again; what they left is in the files."""
        self._mark(chunk).touch()

    def check_stop(self) -> None:
        """Leave a thread whose work is not wanted any more.

        Raises:
            StoppedError: If so; it is nobody's fault and not told.
        """
        if self.stopping.is_set():
            raise StoppedError

    def _mark(self, chunk: range) -> Path:
        return self.scratch_folder / f"{self._stage}.{chunk.start}-{chunk.stop}.done"

    def _forget_chunks(self, name: str) -> None:
        for file in [*self.scratch_folder.glob(f"{name}.*.done")]:
            file.unlink()
        (self.scratch_folder / f"{name}.begun").unlink(missing_ok=True)

    # --- arrays ----------------------------------------------------------------------------------

    def create(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike | None = None
    ) -> NDArray[Any]:
        """Make an array to be filled: of the clip, or, with a `dtype`, one that it does not keep.

        A stage that goes on finds what it has written already.
        """
        path = self._path(name)
        wanted = np.dtype(ARRAYS[name].dtype if dtype is None else dtype)
        if self._goes_on and path.is_file():
            there = np.load(path, mmap_mode="r+")
            if there.shape == shape and there.dtype == wanted:
                # The program may have ended before all of its space was reserved.
                reserve_space(path)
                self._maps[name] = there
                return self._maps[name]
        self._maps[name] = allocate_array(path, shape, wanted)
        return self._maps[name]

    def array(self, name: str) -> NDArray[Any]:
        """Return an array that an earlier stage has made."""
        with self._lock:
            if name not in self._maps:
                self._maps[name] = np.load(self._path(name), mmap_mode="r")
            return self._maps[name]

    def _path(self, name: str) -> Path:
        folder = self.writer.partial if name in ARRAYS else self.scratch_folder
        return folder / f"{name}.npy"

    def release(self) -> None:
        """Hand the memory of mapped files back; the files keep what was written."""
        import mmap

        for array in list(self._maps.values()):
            mapping = getattr(array, "_mmap", None)
            if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapping.madvise(mmap.MADV_DONTNEED)


def write_text(path: Path, text: str) -> None:
    """Write a small file that is there as a whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_record(path: Path) -> StageRecord | None:
    """Read what a stage has noted at its end; None if there is nothing whole."""
    try:
        return StageRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def stage_keys(
    stages: dict[str, Stage], settings: PrepareConfig, source: str
) -> dict[str, StageRecord]:
    """Say for each stage what it is made from: its settings, and a hash of all its input.

    Args:
        stages: In order; each after those it needs.
        settings: Of this run.
        source: Hash of the video.
    """
    planned: dict[str, StageRecord] = {}
    for name, stage in stages.items():
        chosen = stage.settings(settings)
        before = [planned[need].input_hash for need in stage.needs]
        content = json.dumps([name, stage.version, chosen, source, before], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        planned[name] = StageRecord(settings=chosen, input_hash=digest)
    return planned


def source_hash(video: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with video.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
