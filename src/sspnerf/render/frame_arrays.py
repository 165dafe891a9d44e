"""A film's numbers, frame by frame: DIR/000000.npz, 000001.npz, ..."""

import re
import shutil
from pathlib import Path
from types import TracebackType

import numpy as np

from sspnerf.errors import UsageError
from sspnerf.render.portrait import RenderedFrame

FRAME_NAME = re.compile(r"\d{6,}\.npz")


class FrameArrays:
    """Writes the arrays of rendered frames, compressed; a context manager.

    Each file holds what `RenderedFrame` says: color, labels, accumulation, distance. They are
    written into ``.NAME.partial`` beside the folder, which takes the folder's place when the block
    ends well and is removed when it does not.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Check the request; nothing is written before the block is entered.

        Args:
            path: Folder to write.
            overwrite: Replace the arrays of an earlier film.

        Raises:
            UsageError: If the folder is not empty and is not to be overwritten, or holds something
                else too.
        """
        # With a real name also where "." was given.
        self._path = path.resolve()
        self._partial = self._path.with_name(f".{self._path.name}.partial")
        self._frames = 0
        if not path.exists():
            return
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder", "choose another name for the arrays")
        found = list(path.iterdir())
        if found and not overwrite:
            raise UsageError(f"{path} is not empty", "choose another folder or pass --overwrite")
        # The whole folder is replaced: what is not ours must not go with it.
        foreign = [item.name for item in found if not FRAME_NAME.fullmatch(item.name)]
        if foreign:
            raise UsageError(
                f"{path} holds {min(foreign)}, which is not of a film", "choose another folder"
            )

    def __enter__(self) -> "FrameArrays":
        """Make the partial folder."""
        if self._partial.exists():
            shutil.rmtree(self._partial)
        self._partial.mkdir(parents=True)
        return self

    def write(self, frame: RenderedFrame) -> None:
        """Append one frame."""
        np.savez_compressed(self._partial / f"{self._frames:06d}.npz", **frame._asdict())
        self._frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the folder in its place, or remove all traces of it."""
        if kind is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            return
        if self._path.exists():
            shutil.rmtree(self._path)
        self._partial.rename(self._path)
