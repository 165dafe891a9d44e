"""The verb `evaluate`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table
from tyro.conf import Positional

from sspnerf.console import out, progress_bar, warn
from sspnerf.errors import UsageError


def evaluate(
    run: Positional[Path],
    /,
    clip: Path | None = None,
    every: int = 1,
    landmarks: bool = False,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Measure a portrait on the frames it was not learned from.

    Args:
        run: Folder of the run.
        clip: The clip it was trained on, if it was moved since.
        every: Measure every n-th held-out frame only.
        landmarks: Measure the landmark distance of the lips too (needs the extra `prepare`).
        json_: Print one JSON object instead of a table.
    """
    if every < 1:
        raise UsageError(f"--every is {every}; expected 1 or more")
    from sspnerf.evaluate.held_out import evaluate as measure
    from sspnerf.evaluate.score_table import score_lines

    with progress_bar("evaluate") as advance:
        scores = measure(run, clip=clip, every=every, landmarks=landmarks, progress=advance)
    if json_:
        sys.stdout.write(json.dumps(scores._asdict()) + "\n")
        return
    table = Table(title=f"{run}: {scores.frames} held-out frames")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in score_lines(scores):
        table.add_row(name, value)
    out.print(table)
    if landmarks and scores.landmarks_missing:
        warn(f"no landmark distance: {scores.landmarks_missing}")
    out.print(f"side by side: {run / 'evaluation' / 'side_by_side.mp4'}", soft_wrap=True)
