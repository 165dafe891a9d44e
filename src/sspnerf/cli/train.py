"""The verb `train`, and how settings are read."""

import argparse
import functools
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from sspnerf.config import PRESETS, TrainConfig, read_settings
from sspnerf.console import err, out, training_bar
from sspnerf.errors import UsageError

# Settings of a part appear without the part's name: --size, not --settings.size.
Inline = tyro.conf.arg(name="")


def train(
    clip: Positional[Path],
    run: Positional[Path],
    /,
    config: Annotated[TrainConfig, Inline] = PRESETS["fast"],
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


def train_with_base(arguments: list[str]) -> tuple[Callable[..., None], list[str]]:
    """Read --preset and --config; return `train` with them as defaults, and what is left."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--preset", default="fast")
    options.add_argument("--config", type=Path)
    found, rest = options.parse_known_args(arguments)
    base = base_settings(found.preset, found.config)
    with_base = types.FunctionType(train.__code__, train.__globals__, train.__name__)
    functools.update_wrapper(with_base, train)
    del with_base.__wrapped__  # type: ignore[attr-defined]
    with_base.__defaults__ = (base, *(train.__defaults__ or ())[1:])
    return with_base, rest


def base_settings(preset: str, config: Path | None) -> TrainConfig:
    """Return a preset, with a file's settings laid over it."""
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset}", f"known: {', '.join(PRESETS)}")
    base = PRESETS[preset]
    return base if config is None else read_settings(config, base)


def with_budget(base: TrainConfig, minutes: float | None, steps: int | None) -> TrainConfig:
    """Return the settings with another length of training; unchanged if none is asked for."""
    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps are both given", "choose one")
    if minutes is None and steps is None:
        return base
    try:
        return replace(base, minutes=minutes, steps=base.steps if steps is None else steps)
    except ValueError as error:
        raise UsageError(str(error)) from error
