"""The runs of an ablation: which there are, what is left to do for each, and doing it.

Each variant with each seed is a run folder, OUT/<variant>-<seed>, with its settings and its log
beside it (.toml, .log). What is finished is kept and what was stopped goes on, so the same command
again does what is left.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tomli_w

from sspnerf.ablate.children import Command, Report, python_command, work_off
from sspnerf.ablate.variants import variant_settings
from sspnerf.config import PRESETS, TrainConfig, read_settings, to_toml
from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.dataset import split_frames
from sspnerf.errors import ClipError, PortraitError, UsageError
from sspnerf.evaluate.held_out import (
    EVALUATION_FOLDER,
    LANDMARKS_NOT_ASKED,
    SCORES_NAME,
    tracked_frames,
)
from sspnerf.render.portrait_info import PORTRAIT_JSON
from sspnerf.render.source import read_source
from sspnerf.train.checkpoints import Checkpoint, load_checkpoint
from sspnerf.train.trainer import CONFIG_NAME, fit_to_clip

Work = Literal["train", "train anew", "resume", "evaluate"]


class Run(NamedTuple):
    """One run of an ablation, done or to be done."""

    variant: str
    seed: int
    config: TrainConfig
    """Settings that it must have been trained with, completed for the clip."""
    folder: Path

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant}-{self.seed}"

    def beside(self, ending: str) -> Path:
        """Return the path of a file beside the folder."""
        return self.folder.with_name(self.name + ending)


class Ablation(NamedTuple):
    """What is compared, and where."""

    clip: Clip
    out: Path
    runs: tuple[Run, ...]
    landmarks: bool
    """Whether the landmark distance is measured too."""
    every: int = 1
    """Measure every n-th held-out frame only."""

    def measured_frames(self) -> list[int]:
        """Return the held-out frames that every run is measured on."""
        held_out = split_frames(self.clip.manifest.frames, self.clip.manifest.cuts)[1]
        return tracked_frames(self.clip, held_out[:: self.every])


def plan_ablation(
    clip: Path,
    out: Path,
    base: TrainConfig,
    *,
    variants: Sequence[str],
    seeds: Sequence[int],
    landmarks: bool = True,
    every: int = 1,
) -> Ablation:
    """Name every run: all variants with the first seed, then with the next. Nothing is started.

    Args:
        clip: Folder of the clip.
        out: Folder that the runs lie in.
        base: Settings of the full method; its seed is not used.
        variants: Keys of `variants.VARIANTS`.
        seeds: Seeds of training.
        landmarks: Measure the landmark distance too, where MediaPipe can run.
        every: Measure every n-th held-out frame only.

    Raises:
        UsageError: If a variant is unknown or does not go with the base settings, or something is
            named twice, or nothing is.
        ClipError: If the clip cannot be read.
    """
    _refuse_repeats("variant", variants)
    _refuse_repeats("seed", seeds)
    settings = {
        (variant, seed): variant_settings(variant, base, seed=seed)
        for seed in seeds
        for variant in variants
    }
    opened = open_clip(clip)
    runs = tuple(
        Run(variant, seed, fit_to_clip(config, opened), out / f"{variant}-{seed}")
        for (variant, seed), config in settings.items()
    )
    return Ablation(opened, out, runs, landmarks, every)


def _refuse_repeats(what: str, names: Sequence[object]) -> None:
    if not names:
        raise UsageError(f"no {what} is named; expected one or more")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{what} {name} is named twice")


def work_left(ablation: Ablation, run: Run, *, overwrite: bool) -> tuple[Work, ...]:
    """Look at a run's folder and say what is left to do.

    Args:
        ablation: What the run belongs to.
        run: The run.
        overwrite: Whether a run with other settings is trained anew instead of refused.

    Raises:
        UsageError: If the folder holds a run with other settings or of another clip and may not be
            overwritten, or something that is no run.
    """
    if not run.folder.exists():
        return ("train", "evaluate")
    if not (run.folder / CONFIG_NAME).is_file():
        if not run.folder.is_dir() or any(run.folder.iterdir()):
            raise UsageError(f"{run.folder} is no run; it is not overwritten", "choose another OUT")
        return ("train anew", "evaluate")
    difference = _difference(ablation.clip, run)
    if difference and not overwrite:
        raise UsageError(
            f"{run.folder} was trained otherwise: {difference}",
            "ask for the same again, choose another OUT, or pass --overwrite to train it anew",
        )
    checkpoint = None if difference else _checkpoint(run.folder)
    if checkpoint is None:
        return ("train anew", "evaluate")
    if not _is_trained(run, checkpoint):
        return ("resume", "evaluate")
    return () if _is_measured(ablation, run) else ("evaluate",)


def carry_out(
    ablation: Ablation,
    *,
    jobs: int,
    overwrite: bool,
    report: Report,
    sspnerf: Command | None = None,
) -> dict[str, str]:
    """Train and measure what is left, several runs at once.

    Refusals come before anything is started. A run that fails is reported; the others go on.

    Args:
        ablation: What to do.
        jobs: Runs at once; they share the cores.
        overwrite: Train runs anew whose settings are others than asked for.
        report: Called with a line whenever something happens.
        sspnerf: Command that stands for `sspnerf`; this interpreter's own if None.

    Returns:
        Why runs failed, by name; empty if all are there.

    Raises:
        UsageError: If a run's folder holds something else.
        KeyboardInterrupt: After all children have stopped and saved.
    """
    left = {run.name: work_left(ablation, run, overwrite=overwrite) for run in ablation.runs}
    ablation.out.mkdir(parents=True, exist_ok=True)
    kept = [name for name, work in left.items() if not work]
    if kept:
        report(f"kept, as they are finished: {', '.join(kept)}")
    queue = {}
    for run in ablation.runs:
        if left[run.name]:
            run.beside(".toml").write_text(tomli_w.dumps(to_toml(run.config)), encoding="utf-8")
            command = sspnerf or python_command()
            queue[run.name] = [
                [*command, *_arguments(ablation, run, work)] for work in left[run.name]
            ]
    return work_off(queue, ablation.out, jobs=jobs, report=report)


def _arguments(ablation: Ablation, run: Run, work: Work) -> list[str]:
    """Write one piece of work as a command line of `sspnerf`."""
    clip, folder = str(ablation.clip.path), str(run.folder)
    if work == "resume":
        return ["train", clip, folder, "--resume"]
    if work == "evaluate":
        also = ["--landmarks"] if ablation.landmarks else []
        also += ["--every", str(ablation.every)] if ablation.every > 1 else []
        return ["evaluate", folder, "--clip", clip, "--json", *also]
    also = ["--overwrite"] if work == "train anew" else []
    return ["train", clip, folder, "--config", str(run.beside(".toml")), *also]


def _difference(clip: Clip, run: Run) -> str:
    """Say in which way the folder's run is another one than the asked; empty if in none."""
    try:
        read_source(run.folder).check(clip)
        found = to_toml(read_settings(run.folder / CONFIG_NAME, PRESETS["fast"]))
    except (ClipError, PortraitError, UsageError) as error:
        return str(error)
    have, want = _flat(found), _flat(to_toml(run.config))
    for key in sorted({*have, *want}):
        if have.get(key) != want.get(key):
            return f"{key} was {_shown(have.get(key))}, and {_shown(want.get(key))} is asked for"
    return ""


def _flat(table: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Write nested tables as one, with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{where}{key}.") if isinstance(value, dict) else {where + key: value}
    return flat


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def _checkpoint(folder: Path) -> Checkpoint | None:
    try:
        return load_checkpoint(folder)
    except PortraitError:
        return None


def _is_trained(run: Run, checkpoint: Checkpoint) -> bool:
    if run.config.minutes is not None:
        return checkpoint.seconds >= 60 * run.config.minutes
    return checkpoint.step >= run.config.steps


def _is_measured(ablation: Ablation, run: Run) -> bool:
    """Whether the measures there are of the portrait as it is, and of the frames asked for."""
    scores_file = run.folder / EVALUATION_FOLDER / SCORES_NAME
    portrait = run.folder / PORTRAIT_JSON
    if not scores_file.is_file() or not portrait.is_file():
        return False
    if scores_file.stat().st_mtime_ns < portrait.stat().st_mtime_ns:
        return False
    try:
        scores = json.loads(scores_file.read_text(encoding="utf-8"))
        complete = scores["frames"] == len(ablation.measured_frames())
        asked = scores["landmarks_missing"] != LANDMARKS_NOT_ASKED
        return complete and (asked or not ablation.landmarks)
    except (KeyError, TypeError, ValueError):
        return False
