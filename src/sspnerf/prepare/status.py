"""What `sspnerf prepare --status CLIP` tells: how far a clip is, whole or begun."""

from pathlib import Path
from typing import Literal, NamedTuple

from sspnerf.data.clip import open_clip
from sspnerf.data.clip_writer import partial_folder
from sspnerf.errors import ClipError
from sspnerf.prepare.found import Take
from sspnerf.prepare.pipeline import STAGES, is_understood
from sspnerf.prepare.workspace import read_record


class StageStatus(NamedTuple):
    """How far one stage is."""

    name: str
    state: Literal["done", "begun", "to do"]
    frames: int
    """Frames that are finished, of a stage that was stopped in the middle and counts them."""
    of: int
    """Frames in all; 0 where that is not known yet."""
    seconds: float
    """How long it took; 0 while it is not done."""
    warnings: tuple[str, ...]


def clip_status(path: Path) -> list[StageStatus]:
    """Say how far a clip is prepared.

    Args:
        path: Name of the clip, whole or begun. Where a clip is being replaced, the new one counts.

    Returns:
        All stages, in order.

    Raises:
        ClipError: If there is no such clip, nor one begun.
    """
    work = partial_folder(path) / "work"
    if not work.is_dir():
        stages = open_clip(path).manifest.stages
        return [_done(name, stages[name].seconds, stages[name].warnings) for name in stages]
    plan = read_record(work / "plan.json")
    if plan is None:
        raise ClipError(f"{path} was hardly begun", "prepare it again")
    found = []
    frames = 0
    for name in STAGES:
        record = read_record(work / f"{name}.json")
        planned = plan.settings.get(name)
        if (
            record is not None
            and record.input_hash == planned
            and is_understood(STAGES[name], record)
        ):
            found.append(_done(name, record.seconds, record.warnings))
            if name == "decode":
                frames = Take.model_validate(record.found).frames
        else:
            found.append(_begun(work, name, str(planned), frames))
    return found


def _done(name: str, seconds: float, warnings: tuple[str, ...]) -> StageStatus:
    return StageStatus(name, "done", 0, 0, seconds, warnings)


def _begun(work: Path, name: str, planned: str, frames: int) -> StageStatus:
    note = work / f"{name}.begun"
    if not note.exists() or note.read_text() != planned:
        return StageStatus(name, "to do", 0, frames, 0.0, ())
    chunks = [file.name.split(".")[-2].split("-") for file in work.glob(f"{name}.*-*.done")]
    done = sum(int(stop) - int(start) for start, stop in chunks)
    return StageStatus(name, "begun", done, frames, 0.0, ())
