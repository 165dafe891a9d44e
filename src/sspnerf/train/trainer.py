"""The loop: step, report, save, stop. Files of a run: docs/train.md."""

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w
from PIL import Image

from sspnerf.config import PRESETS, TrainConfig, VolumeConfig, read_settings, to_toml
from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.dataset import ClipDataset, split_frames
from sspnerf.data.speech_features import check_same_features
from sspnerf.errors import PortraitError, TrainingError, UsageError
from sspnerf.evaluate.held_out import render_held_out, side_by_side
from sspnerf.evaluate.plots import plot_ray_schedule
from sspnerf.geometry.rest_surface import RECESSION
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ, active_level_db
from sspnerf.render.source import Source, read_source, read_speech, write_source
from sspnerf.train.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from sspnerf.train.learner import PortraitLearner, StepReport
from sspnerf.train.snapshot import Speech

CONFIG_NAME = "config.toml"
METRICS_NAME = "metrics.jsonl"
SCHEDULE_NAME = "ray_schedule.png"
REPORT_STEPS = 50
# A recording given beside a silent video may be longer or shorter than it by this much.
SPEECH_TOLERANCE_S = 0.5
# Between previews lies at least this many times what one takes.
PREVIEW_GAP = 20
# Along whole rays samples lie from this far in front of the head's origin to this far behind it.
NEAR_CM = 15.0
FAR_CM = 30.0


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
        UsageError: If the run exists, or something that is no run stands in its place, or the
            speech is not as long as the clip.
        ClipError: If the clip cannot be read, or has no sound and no `speech` is given.
        TrainingError: If the loss is no number any more.
    """
    _check_place(run, overwrite=overwrite)
    opened = open_clip(clip)
    config = fit_to_clip(config or PRESETS["fast"], opened)
    heard = _read_speech(opened, config, speech)
    learner = PortraitLearner(config, ClipDataset(opened), heard)
    # Everything that can be refused has been: only now the run before is given up.
    if run.exists():
        shutil.rmtree(run)
    run.mkdir(parents=True)
    (run / CONFIG_NAME).write_text(tomli_w.dumps(to_toml(config)), encoding="utf-8")
    write_source(run, Source.of(opened, speech, heard=heard.told))
    _Loop(run, learner, progress).run()
    return run


def resume(clip: Path, run: Path, *, progress: ProgressCallback | None = None) -> Path:
    """Go on with a training that was stopped, with its own settings.

    Args:
        clip: The clip it was started with; may have been moved since.
        run: The run's folder.
        progress: Called every 50 steps.

    Raises:
        PortraitError: If the run has no checkpoint, or it does not fit.
        ClipError: If the clip cannot be read, or is another one.
        UsageError: If the training is finished.
    """
    checkpoint = load_checkpoint(run)
    opened, source = open_clip(clip), read_source(run)
    source.check(opened)
    config = read_settings(run / CONFIG_NAME, PRESETS["fast"])
    heard = _read_speech(opened, config, None if source.speech is None else Path(source.speech))
    if source.heard is not None and heard.told is not None:
        check_same_features(config.speech_feature, heard.told, source.heard)
    learner = PortraitLearner(config, ClipDataset(opened), heard)
    try:
        learner.load_state(checkpoint.tensors, checkpoint.plain)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PortraitError(
            f"{run}: the checkpoint does not fit: {reason}", "train again"
        ) from error
    loop = _Loop(run, learner, progress, step=checkpoint.step, seconds=checkpoint.seconds)
    if loop.share() >= 1:
        raise UsageError(
            f"{run} is finished: {checkpoint.step} steps", "train longer into a new run"
        )
    _forget_after(run / METRICS_NAME, checkpoint.step)
    loop.run()
    return run


def _check_place(run: Path, *, overwrite: bool) -> None:
    """Refuse to write over anything, and to delete anything but a run."""
    if not run.exists():
        return
    if not overwrite:
        raise UsageError(
            f"{run} exists already", "choose another name, or pass --resume or --overwrite"
        )
    if not run.is_dir() or (any(run.iterdir()) and not (run / CONFIG_NAME).is_file()):
        raise UsageError(f"{run} is no run; it is not overwritten", "choose another name")


def _forget_after(metrics: Path, step: int) -> None:
    """Drop what was reported after the checkpoint that training goes on from."""
    if not metrics.is_file():
        return
    lines = metrics.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    partial = metrics.with_name(f".{metrics.name}.partial")
    partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    partial.replace(metrics)


def fit_to_clip(config: TrainConfig, clip: Clip) -> TrainConfig:
    """Fill in settings that depend on the clip: what the camera sees, and how far away."""
    camera, field, volume = clip.manifest.intrinsics, config.field, config.volume
    # From the camera to the head; the picture's rim lies further back, as the torso recedes.
    training = np.arange(len(split_frames(clip.manifest.frames, clip.manifest.cuts)[0]))
    seen = clip.poses[training[clip.valid[training]]] if clip.valid[training].any() else clip.poses
    distance = float(np.median(np.linalg.norm(seen[:, :3, 3], axis=1)))
    if config.architecture != "planes":
        volume = _fit_volume(volume, distance)
    elif field.extent is None:
        half = distance * max(camera.width, camera.height) / (2 * camera.fx)
        field = replace(field, extent=round(half * (1 + RECESSION / 2), 1))
    return replace(config, field=field, volume=volume)


def _fit_volume(volume: VolumeConfig, distance: float) -> VolumeConfig:
    """Let samples along whole rays begin before the head and end behind the shoulders."""
    near = volume.near if volume.near is not None else round(max(1.0, distance - NEAR_CM), 1)
    far = volume.far if volume.far is not None else round(distance + FAR_CM, 1)
    try:
        return replace(volume, near=near, far=far)
    except ValueError as error:
        raise UsageError(
            f"{error} ({far:g} for this clip)",
            f"set both, or neither: the head is {distance:.0f} cm from the camera",
        ) from error


def _read_speech(clip: Clip, config: TrainConfig, speech: Path | None) -> Speech:
    manifest = clip.manifest
    seconds = manifest.frames / manifest.frame_rate_hz
    heard = read_speech(clip, speech, kind=config.speech_feature)
    lasts = len(heard.waveform) / SPEECH_SAMPLE_RATE_HZ
    if speech is not None and abs(lasts - seconds) > SPEECH_TOLERANCE_S:
        raise UsageError(
            f"{speech} lasts {lasts:.1f} s and the clip {seconds:.1f} s",
            "give a recording of the same take, cut to the same length",
        )
    training = len(split_frames(manifest.frames, manifest.cuts)[0]) / manifest.frames
    level_db = active_level_db(heard.waveform[: round(training * len(heard.waveform))])
    return Speech(heard.features, heard.told.rate_hz, level_db, heard.told)


class _Loop:
    """Steps until the end, the clock or Ctrl-C; what was learned until then is saved."""

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
        self.preview_seconds = 0.0
        (run / "previews").mkdir(exist_ok=True)

    def share(self) -> float:
        """Return how much of the training is done, [0, 1]."""
        if self.config.minutes is not None:
            return min(1.0, self.seconds / (60 * self.config.minutes))
        return min(1.0, self.step / self.config.steps)

    def run(self) -> None:
        """Train, then save the portrait."""
        if self.step == 0:
            # From here on a killed training can be resumed.
            self._save_checkpoint()
        try:
            self._train()
        except KeyboardInterrupt:
            self._save()
            raise
        self._save()
        self._preview()
        plot_ray_schedule(self.folder / METRICS_NAME, self.folder / SCHEDULE_NAME)

    def _save(self) -> None:
        # The portrait first: what a kill leaves behind then is at worst a checkpoint to resume.
        self.learner.portrait(self.share()).save(self.folder)
        self._save_checkpoint()

    def _train(self) -> None:
        started, first = time.monotonic() - self.seconds, self.step
        resumed = self.seconds
        while self.share() < 1:
            report = self.learner.step(self.share())
            self.step += 1
            if not math.isfinite(report.loss):
                raise TrainingError(
                    f"the loss is {report.loss} at step {self.step}; nothing was saved since the "
                    "last checkpoint",
                    "resume from it, or train again with lower learning rates (--optimiser.*)",
                )
            self.seconds = time.monotonic() - started
            if self.step % REPORT_STEPS == 0 or self.share() >= 1:
                rate = (self.step - first) / max(self.seconds - resumed, 1e-9)
                self._report(Progress(self.step, self.share(), self.seconds, rate, report))
            if self.seconds - self.saved > 60 * self.config.checkpoint_minutes:
                self.saved = self.seconds
                self._save_checkpoint()
            if self._wants_preview():
                # Not part of the training time: a frame of some architectures takes minutes.
                started += self._preview()
                self.previewed = self.seconds

    def _wants_preview(self) -> bool:
        gap = max(60 * self.config.preview_minutes, PREVIEW_GAP * self.preview_seconds)
        return self.share() < 1 and self.seconds - self.previewed > gap

    def _report(self, progress: Progress) -> None:
        line: dict[str, Any] = {
            "step": progress.step,
            "seconds": round(progress.seconds, 2),
            **{k: round(v, 6) for k, v in progress.report._asdict().items()},
            "class_losses": [round(v, 6) for v in self.learner.sampler.losses.tolist()],
            "class_rays": self.learner.sampler.last_rays.tolist(),
        }
        with (self.folder / METRICS_NAME).open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        if self.report_to is not None:
            self.report_to(progress)

    def _save_checkpoint(self) -> None:
        tensors, plain = self.learner.state()
        save_checkpoint(self.folder, Checkpoint(self.step, self.seconds, tensors, plain))

    def _preview(self) -> float:
        """Draw a held-out frame: truth, rendering, labels. Returns how long it took, seconds."""
        started = time.monotonic()
        dataset = self.learner.dataset
        frame = dataset.held_out[len(dataset.held_out) // 2]
        portrait = self.learner.portrait(self.share())
        features = self.learner.speech.features
        (measured,) = render_held_out(portrait, dataset.clip, features, [frame])
        picture = Image.fromarray(side_by_side(measured))
        picture.save(self.folder / "previews" / f"{self.step:07d}.png")
        self.preview_seconds = time.monotonic() - started
        return self.preview_seconds
