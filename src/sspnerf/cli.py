"""The command line: one function per verb. Prints results, turns errors into exit codes.

Results go to stdout, progress to stderr. Stages are imported inside the functions, so that help is
instant.
"""

import argparse
import functools
import json
import os
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro
from rich.table import Table
from tyro.conf import Positional

from sspnerf.config import PRESETS, PrepareConfig, SynthConfig, TrainConfig, read_settings
from sspnerf.console import err, out, progress_bar, stage_bars, training_bar
from sspnerf.errors import SspnerfError, UsageError

DESCRIPTION = (
    "Learn one person's talking portrait from a short video, then let it speak any recording. "
    "`sspnerf --debug VERB ...` shows the whole traceback of an error."
)
INTERRUPTED = 130

# Settings of a part appear without the part's name: --size, not --settings.size.
_Inline = tyro.conf.arg(name="")


def synth(
    clip: Positional[Path],
    /,
    settings: Annotated[SynthConfig, _Inline] = SynthConfig(),  # noqa: B008 - frozen
    overwrite: bool = False,
) -> None:
    """Make a clip of a synthetic speaker, with the truth of everything in it.

    Args:
        clip: Folder to write.
        settings: What is said, and how it is filmed.
        overwrite: Replace the folder if it exists.
    """
    from sspnerf.synth.writer import write_synthetic_clip

    with progress_bar("synth") as advance:
        write_synthetic_clip(clip, settings, overwrite=overwrite, progress=advance)
    out.print(f"clip: {clip}", soft_wrap=True)


def prepare(
    video: Positional[Path],
    clip: Positional[Path],
    /,
    settings: Annotated[PrepareConfig, _Inline] = PrepareConfig(),  # noqa: B008 - frozen
    overwrite: bool = False,
) -> None:
    """Turn a video of one talking person into a clip.

    Args:
        video: Any video file that shows one person, with or without sound.
        clip: Folder to write.
        settings: Size, frame rate, speech features.
        overwrite: Replace the folder if it exists.
    """
    from sspnerf.prepare.pipeline import prepare as run_prepare

    with stage_bars() as advance:
        prepared = run_prepare(
            video, clip, settings, overwrite=overwrite, progress=advance, warn=_warn
        )
    manifest = prepared.manifest
    lost = int(manifest.frames - prepared.valid.sum())
    out.print(
        f"clip: {clip} ({manifest.frames} frames, {manifest.width}x{manifest.height}, "
        f"{manifest.frame_rate_hz:g} frames/s, face not found in {lost})",
        soft_wrap=True,
    )


def train(
    clip: Positional[Path],
    run: Positional[Path],
    /,
    config: Annotated[TrainConfig, _Inline] = PRESETS["fast"],
    speech: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> None:
    """Learn a portrait from a prepared clip.

    `--preset NAME` and `--config FILE.toml` are read first, then the flags below.

    Args:
        clip: Folder of the clip.
        run: Folder to write.
        config: Settings.
        speech: Recording of the same take, for a clip without sound.
        overwrite: Replace the run if it exists.
        resume: Go on with a run that was stopped, with the settings it was started with.
    """
    from sspnerf.train.trainer import resume as resume_training
    from sspnerf.train.trainer import train as start_training

    if resume and (config != PRESETS["fast"] or speech or overwrite):
        raise UsageError(
            "--resume goes on with the run's own settings and takes no others",
            f"they are in {run}/config.toml",
        )
    try:
        with training_bar() as advance:
            if resume:
                resume_training(clip, run, progress=advance)
            else:
                start_training(
                    clip, run, config, speech=speech, overwrite=overwrite, progress=advance
                )
    except KeyboardInterrupt:
        if (run / "checkpoints").is_dir():
            err.print(f"saved; go on with: sspnerf train {clip} {run} --resume", soft_wrap=True)
        raise
    out.print(f"portrait: {run}", soft_wrap=True)


def render(
    run: Positional[Path],
    speech: Positional[Path],
    film: Positional[Path],
    /,
    show: Literal["color", "semantics", "depth", "accumulation", "normals"] = "color",
    arrays: Path | None = None,
    poses: Path | None = None,
    torso: Literal["tracked", "follow"] | None = None,
    overwrite: bool = False,
) -> None:
    """Let a portrait say a recording.

    Args:
        run: Folder of the run.
        speech: Any sound or video file.
        film: The mp4 to write.
        show: What the film shows: the picture, or a map of what was rendered.
        arrays: Folder for each frame's color, labels, accumulation, distance as .npz.
        poses: Head poses instead of the clip's: .npy, camera_to_world (frames, 4, 4).
        torso: As tracked in the clip (the default), or following the head (with --poses always).
        overwrite: Replace the film and the arrays if they exist.
    """
    if film.exists() and not overwrite:
        raise UsageError(f"{film} exists already", "choose another name or pass --overwrite")
    from sspnerf.render.film import read_poses, speak
    from sspnerf.render.portrait import load_portrait

    head = None if poses is None else read_poses(poses)
    spoken = speak(load_portrait(run), speech, poses=head, torso=torso)
    with progress_bar("render") as advance:
        spoken.save(film, show=show, arrays=arrays, overwrite=overwrite, progress=advance)
    out.print(f"film: {film} ({spoken.frames} frames)", soft_wrap=True)
    if arrays is not None:
        out.print(f"arrays: {arrays}", soft_wrap=True)


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
        _warn(f"no landmark distance: {scores.landmarks_missing}")
    out.print(f"side by side: {run / 'evaluation' / 'side_by_side.mp4'}", soft_wrap=True)


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
    base = _with_budget(_base_settings(preset, config), minutes, steps)
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
        rows = run_ablation(plan, jobs=jobs, overwrite=overwrite, report=_tell)
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


def info() -> None:
    """Say which backend runs here, and why."""
    import torch

    from sspnerf import __version__
    from sspnerf.ops.backend import choose, field_dtype

    device = torch.device("cpu")
    backend = choose(device)
    number_type = str(field_dtype(device)).removeprefix("torch.")
    out.print(f"sspnerf {__version__}, torch {torch.__version__}", soft_wrap=True)
    out.print(f"backend: {backend.name} ({backend.reason})", soft_wrap=True)
    out.print(f"numbers inside fields: {number_type}", soft_wrap=True)


VERBS: dict[str, Callable[..., None]] = {
    "synth": synth,
    "prepare": prepare,
    "train": train,
    "render": render,
    "evaluate": evaluate,
    "ablate": ablate,
    "info": info,
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 1 our error, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Threads that wait busily for long slow each other down as soon as another program does the
    # same: two trainings at once took 500 ms a step each with 20000 turns and 150 ms with 1000.
    # Not waiting busily at all makes one training alone a quarter slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    debug = arguments[:1] == ["--debug"]
    arguments = arguments[debug:]
    try:
        verbs = dict(VERBS)
        if arguments[:1] == ["train"]:
            verbs["train"], arguments = _train_with_base(arguments)
        tyro.extras.subcommand_cli_from_dict(
            verbs, prog="sspnerf", description=DESCRIPTION, args=arguments
        )
    except (SspnerfError, OSError) as error:
        if debug:
            raise
        known = error if isinstance(error, SspnerfError) else _as_ours(error)
        _say(known)
        sys.exit(known.exit_code)
    except ValueError as error:
        if debug or not _is_of_settings(error):
            raise
        _say(UsageError(str(error)))
        sys.exit(UsageError.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _is_of_settings(error: ValueError) -> bool:
    """Say whether the settings themselves refused a value, and nothing has been started."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return raised_in.parent == Path(__file__).parent / "config"


def _as_ours(error: OSError) -> SspnerfError:
    """Say what the operating system refused: no permission, no space, no such folder."""
    where = f" {error.filename}" if error.filename else ""
    return SspnerfError(f"cannot read or write{where}: {error.strerror or error}")


def _warn(line: str) -> None:
    """Print something that is not as it should be, but no reason to stop."""
    err.print(f"warning: {line}", markup=False, highlight=False, soft_wrap=True)


def _tell(line: str) -> None:
    """Print a line of progress."""
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def _say(error: SspnerfError) -> None:
    """Print an error as one line, and its hint as another."""
    err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"hint: {error.hint}", markup=False, highlight=False, soft_wrap=True)


def _train_with_base(arguments: list[str]) -> tuple[Callable[..., None], list[str]]:
    """Read --preset and --config; return `train` with them as defaults, and what is left."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--preset", default="fast")
    options.add_argument("--config", type=Path)
    found, rest = options.parse_known_args(arguments)
    base = _base_settings(found.preset, found.config)
    with_base = types.FunctionType(train.__code__, train.__globals__, train.__name__)
    functools.update_wrapper(with_base, train)
    del with_base.__wrapped__  # type: ignore[attr-defined]
    with_base.__defaults__ = (base, *(train.__defaults__ or ())[1:])
    return with_base, rest


def _base_settings(preset: str, config: Path | None) -> TrainConfig:
    """Return a preset, with a file's settings laid over it."""
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset}", f"known: {', '.join(PRESETS)}")
    base = PRESETS[preset]
    return base if config is None else read_settings(config, base)


def _with_budget(base: TrainConfig, minutes: float | None, steps: int | None) -> TrainConfig:
    """Return the settings with another length of training; unchanged if none is asked for."""
    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps are both given", "choose one")
    if minutes is None and steps is None:
        return base
    try:
        return replace(base, minutes=minutes, steps=base.steps if steps is None else steps)
    except ValueError as error:
        raise UsageError(str(error)) from error
