"""The verb `ablate`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from sspnerf.cli.train import base_settings, with_budget
from sspnerf.console import err, out, tell
from sspnerf.errors import SspnerfError, UsageError


def ablate(
    clip: Positional[Path],
    ablation: Positional[Path],
    /,
    minutes: float | None = None,
    steps: int | None = None,
    seeds: tuple[int, ...] = (0, 1),
    variants: tuple[str, ...] = (),
    jobs: int = 1,
    preset: str = "fast",
    config: Path | None = None,
    landmarks: bool = True,
    every: int = 1,
    overwrite: bool = False,
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Train without one part of the method at a time, and compare.

    The same command again goes on where it was stopped, and keeps what is finished.

    Args:
        clip: Folder of the clip.
        ablation: Folder for the runs, tables and pictures.
        minutes: Train each run for this time.
        steps: Train each run for so many steps; the settings' own number if neither is given.
        seeds: Seeds; each variant is trained with each.
        variants: Any of full, no-parsing, uniform-sampling, no-torso-deformation, no-rough-mesh,
            adnerf; all if not given, but adnerf only by the clock (--minutes).
        jobs: Runs at once; they share the cores.
        preset: Settings of the full method.
        config: File of settings, laid over the preset.
        landmarks: Measure the landmark distance of the lips too, where MediaPipe can run.
        every: Measure every n-th held-out frame only; adnerf takes many seconds for each.
        overwrite: Train runs anew that were trained with other settings.
        json_: Print one JSON object instead of a table.
    """
    for name, number in (("jobs", jobs), ("every", every)):
        if number < 1:
            raise UsageError(f"--{name} is {number}; expected 1 or more")
    base = with_budget(base_settings(preset, config), minutes, steps)
    from sspnerf.ablate.ablation import ablate as run_ablation
    from sspnerf.ablate.runs import plan_ablation
    from sspnerf.ablate.table import as_json, as_rich_table
    from sspnerf.ablate.variants import default_variants

    plan = plan_ablation(
        clip,
        ablation,
        base,
        variants=variants or default_variants(base),
        seeds=seeds,
        landmarks=landmarks,
        every=every,
    )
    try:
        rows = run_ablation(plan, jobs=jobs, overwrite=overwrite, report=tell)
    except KeyboardInterrupt:
        err.print("saved; the same command goes on", soft_wrap=True)
        raise
    if json_:
        sys.stdout.write(json.dumps(as_json(plan, rows)) + "\n")
    else:
        out.print(as_rich_table(rows))
        out.print(f"pictures and tables: {ablation}", soft_wrap=True)
    failed = [row.run.name for row in rows if row.error]
    if failed:
        raise SspnerfError(
            f"{len(failed)} of {len(rows)} runs failed: {', '.join(failed)}",
            f"their logs are in {ablation}; the same command tries them again",
        )
