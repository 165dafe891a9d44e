"""The loop: step, report, save, stop. Files of a run: docs/train.md."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w
from PIL import Image

from sspnerf.config import PRESETS, TrainConfig, read_settings, to_toml
from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.dataset import ClipDataset
from sspnerf.data.semantics import color_labels
from sspnerf.errors import PortraitError, UsageError
from sspnerf.geometry.face_mesh import RECESSION
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import LOG_MEL_RATE_HZ, active_level_db
from sspnerf.render.film import speech_features
from sspnerf.train.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from sspnerf.train.learner import PortraitLearner, Speech, StepReport

CONFIG_NAME = "config.toml"
METRICS_NAME = "metrics.jsonl"
REPORT_STEPS = 50


class Progress(NamedTuple):
    """Where training stands, for whoever shows it."""

    step: int
    share: float
    """How much is done, [0, 1]."""
    seconds: float
    steps_per_second: float
    report: StepReport


ProgressCallback = Callable[[Progress], None]


def train(
    clip: Path,
    run: Path,
    config: TrainConfig | None = None,
    *,
    speech: Path | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> Path:
    """Learn a portrait from a prepared clip.

    Args:
        clip: Folder of the clip.
        run: Folder to write; must not exist unless `overwrite`.
        config: Settings; preset `fast` if not given.
        speech: Recording to use instead of the clip's sound, of the same take.
        overwrite: Replace an existing run.
        progress: Called every 50 steps.

    Returns:
        The run's folder.

    Raises:
        UsageError: If the run exists.
        ClipError: If the clip cannot be read, or has no sound and no `speech` is given.
    """
    if run.exists() and not overwrite:
        raise UsageError(
            f"{run} exists already", "choose another name, or pass --resume or --overwrite"
        )
    opened = open_clip(clip)
    heard = _read_speech(opened, config or PRESETS["fast"], speech)
    config = fit_to_clip(config or PRESETS["fast"], opened)
    if run.exists():
        shutil.rmtree(run)
    run.mkdir(parents=True)
    _write_settings(run, config, clip, speech)
    learner = PortraitLearner(config, ClipDataset(opened), heard)
    _Loop(run, learner, progress).run()
    return run


def resume(run: Path, *, progress: ProgressCallback | None = None) -> Path:
    """Go on with a training that was stopped, with its own settings.

    Raises:
        PortraitError: If the run has no checkpoint, or it does not fit.
        ClipError: If the clip it was started with is gone.
    """
    checkpoint = load_checkpoint(run)
    try:
        source = json.loads((run / "source.json").read_text())
    except (OSError, ValueError) as error:
        raise PortraitError(f"{run}/source.json is damaged: {error}", "train again") from error
    clip = open_clip(Path(source["clip"]))
    config = read_settings(run / CONFIG_NAME, PRESETS["fast"])
    heard = _read_speech(clip, config, Path(source["speech"]) if source["speech"] else None)
    learner = PortraitLearner(config, ClipDataset(clip), heard)
    try:
        learner.load_state(checkpoint.tensors, checkpoint.plain)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PortraitError(
            f"{run}: the checkpoint does not fit: {reason}", "train again"
        ) from error
    _Loop(run, learner, progress, step=checkpoint.step, seconds=checkpoint.seconds).run()
    return run


def fit_to_clip(config: TrainConfig, clip: Clip) -> TrainConfig:
    """Fill in settings that depend on the clip: the grids cover what the camera sees."""
    if config.field.extent is not None:
        return config
    camera = clip.manifest.intrinsics
    # From the camera to the head; the picture's rim lies further back, as the torso recedes.
    distance = float(np.median(np.linalg.norm(clip.poses[:, :3, 3], axis=1)))
    half = distance * max(camera.width, camera.height) / (2 * camera.fx)
    extent = round(half * (1 + RECESSION / 2), 1)
    return replace(config, field=replace(config.field, extent=extent))


def _read_speech(clip: Clip, config: TrainConfig, speech: Path | None) -> Speech:
    name = config.speech_feature
    if speech is not None:
        waveform = read_waveform(speech)
        features = speech_features(name, waveform)
        return Speech(features, LOG_MEL_RATE_HZ, active_level_db(waveform))
    waveform = clip.speech()
    return Speech(
        np.array(clip.feature(name)),
        clip.manifest.features[name].rate_hz,
        active_level_db(waveform),
    )


def _write_settings(run: Path, config: TrainConfig, clip: Path, speech: Path | None) -> None:
    (run / CONFIG_NAME).write_text(tomli_w.dumps(to_toml(config)))
    source = {
        "clip": str(clip.resolve()),
        "speech": None if speech is None else str(speech.resolve()),
    }
    (run / "source.json").write_text(json.dumps(source, indent=2) + "\n")


class _Loop:
    """Steps until the end, the clock or Ctrl-C; whatever happens, what was learned is saved."""

    def __init__(
        self,
        run: Path,
        learner: PortraitLearner,
        progress: ProgressCallback | None,
        *,
        step: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self.folder, self.learner, self.report_to = run, learner, progress
        self.step, self.seconds = step, seconds
        self.config = learner.config
        self.saved = self.previewed = seconds
        (run / "previews").mkdir(exist_ok=True)

    def share(self) -> float:
        """Return how much of the training is done, [0, 1]."""
        if self.config.minutes is not None:
            return min(1.0, self.seconds / (60 * self.config.minutes))
        return min(1.0, self.step / self.config.steps)

    def run(self) -> None:
        """Train, then save the portrait."""
        try:
            self._train()
        finally:
            # Ctrl-C lands here too: hours of learning are not thrown away.
            self._save_checkpoint()
            self.learner.portrait(self.share()).save(self.folder)
        self._preview()

    def _train(self) -> None:
        started, first = time.monotonic() - self.seconds, self.step
        resumed = self.seconds
        while self.share() < 1:
            report = self.learner.step(self.share())
            self.step += 1
            self.seconds = time.monotonic() - started
            if self.step % REPORT_STEPS == 0 or self.share() >= 1:
                rate = (self.step - first) / max(self.seconds - resumed, 1e-9)
                self._report(Progress(self.step, self.share(), self.seconds, rate, report))
            if self.seconds - self.saved > 60 * self.config.checkpoint_minutes:
                self.saved = self.seconds
                self._save_checkpoint()
            if self.seconds - self.previewed > 60 * self.config.preview_minutes:
                self.previewed = self.seconds
                self._preview()

    def _report(self, progress: Progress) -> None:
        line: dict[str, Any] = {
            "step": progress.step,
            "seconds": round(progress.seconds, 2),
            **{k: round(v, 6) for k, v in progress.report._asdict().items()},
            "class_losses": [round(v, 6) for v in self.learner.sampler.losses.tolist()],
        }
        with (self.folder / METRICS_NAME).open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.report_to is not None:
            self.report_to(progress)

    def _save_checkpoint(self) -> None:
        tensors, plain = self.learner.state()
        save_checkpoint(self.folder, Checkpoint(self.step, self.seconds, tensors, plain))

    def _preview(self) -> None:
        """Draw a held-out frame: truth, rendering, labels."""
        dataset = self.learner.dataset
        frame = dataset.held_out[len(dataset.held_out) // 2]
        portrait = self.learner.portrait(self.share())
        windows = portrait.windows(self.learner.speech.features, np.array([frame]))
        rendered = portrait.render_frame(windows, clip_frame=frame)
        truth = np.asarray(dataset.clip.frames[frame])
        sheet = np.concatenate((truth, rendered.color, color_labels(rendered.labels)), axis=1)
        Image.fromarray(sheet).save(self.folder / "previews" / f"{self.step:07d}.png")
