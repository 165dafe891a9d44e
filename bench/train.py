"""How fast a portrait learns.

    python -m bench.train --clip CLIP [--size 256] [--json]
    python -m bench.train --clip CLIP --minutes 15 --to 28,30,31,32
    python -m bench.train --clip CLIP --scaling

The first prints what a step costs and where; the second trains, and says after how many seconds
the held-out frames' PSNR passed each mark (measured off the clock); the third prints the cost of a
step against size, samples and the clip's length.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.clips import write_repeated
from bench.machine import (
    Report,
    Row,
    above_zero,
    alternate,
    check_size,
    exponent,
    numbers,
    options,
    positive,
    run_command,
    seconds_of,
)
from bench.portraits import learner_of
from sspnerf.config import PRESETS, TrainConfig
from sspnerf.data.clip import Clip, open_clip
from sspnerf.evaluate.held_out import render_held_out, tracked_frames
from sspnerf.evaluate.metrics import mouth_box, psnr
from sspnerf.render.portrait import Portrait
from sspnerf.train.learner import PortraitLearner

SCALING_SIZES = (128, 256, 512)
SCALING_SAMPLES = (4, 8, 16)
SCALING_SECONDS = (2.0, 8.0, 32.0)
# Curves are drawn from about so many held-out frames.
CURVE_FRAMES = 24
# In the middle of training: the band has narrowed.
PROGRESS = 0.5
WARM_STEPS = 3


def measure(chosen: argparse.Namespace, config: TrainConfig | None = None) -> Report:
    """Take the figures that the options ask for; settings: preset `fast` if not given."""
    clip, config = open_clip(chosen.clip), config or PRESETS[chosen.preset]
    report = Report("train", {"clip": str(chosen.clip), "preset": chosen.preset})
    if chosen.scaling:
        _add_scaling(report, clip, config, chosen)
        return report
    check_size(chosen.size, clip.manifest.width)
    if chosen.minutes is None:
        report.settings["steps"] = chosen.steps
        report.tables["step"] = _step_rows(clip, config, steps=chosen.steps)
        report.notes.append(
            "share: of the step; backward holds the losses too, the rest is bookkeeping"
        )
        return report
    _add_curve(report, clip, replace(config, minutes=chosen.minutes), chosen)
    return report


def _step_rows(clip: Clip, config: TrainConfig, *, steps: int) -> list[Row]:
    """Time whole steps and their parts; medians."""
    began = time.perf_counter()
    learner = learner_of(clip, config)
    built = time.perf_counter() - began
    first = seconds_of(lambda: learner.step(PROGRESS))
    for _ in range(WARM_STEPS - 1):
        learner.step(PROGRESS)
    parts: dict[str, list[float]] = {}
    with _timed_parts(learner) as clock:
        for _ in range(steps):
            clock.clear()
            whole = seconds_of(lambda: learner.step(PROGRESS))
            clock["other"] = whole - sum(clock.values())
            for name, seconds in (*clock.items(), ("whole", whole)):
                parts.setdefault(name, []).append(seconds)
    medians = {name: statistics.median(seconds) for name, seconds in parts.items()}
    rays, whole = config.rays_per_step, medians["whole"]
    samples = rays * learner.driven.ray_samples
    rows = [
        {"part": name, "ms": 1e3 * seconds, "share": seconds / whole}
        for name, seconds in medians.items()
    ]
    rows[-1] |= {"rays_per_s": rays / whole, "samples_per_s": samples / whole}
    return [
        {"part": "start-up: build", "ms": 1e3 * built},
        {"part": "start-up: first step", "ms": 1e3 * first},
        *rows,
    ]


@contextmanager
def _timed_parts(learner: PortraitLearner) -> Iterator[dict[str, float]]:
    """Let the parts of a step note how long they took, s."""
    clock: dict[str, float] = {}
    rendered = 0.0

    def timed(name: str, call: Any) -> Any:  # noqa: ANN401 - any method
        def timed_call(*given: Any, **named: Any) -> Any:  # noqa: ANN401
            nonlocal rendered
            began = time.perf_counter()
            if name == "optimiser":
                # Between the pictures and the optimiser lie the losses and the way back.
                clock["backward"] = began - rendered
            answer = call(*given, **named)
            rendered = time.perf_counter()
            clock[name] = clock.get(name, 0.0) + rendered - began
            return answer

        return timed_call

    with ExitStack() as patches:
        for name, owner, method in (
            ("draw", learner.dataset, "choose"),
            ("draw", learner.dataset, "draw"),
            ("hear", learner, "hear"),
            ("render", learner, "render"),
            ("optimiser", learner.optimiser, "step"),
        ):
            call = getattr(owner, method)
            patches.enter_context(mock.patch.object(owner, method, timed(name, call)))
        yield clock


def _add_curve(report: Report, clip: Clip, config: TrainConfig, chosen: argparse.Namespace) -> None:
    """Train against the clock, which stands still while held-out frames are measured."""
    began = time.perf_counter()
    learner = learner_of(clip, config)
    startup = time.perf_counter() - began
    held_out = tracked_frames(clip, learner.dataset.held_out)
    some = held_out[:: max(1, len(held_out) // CURVE_FRAMES)]
    total, clock, steps, due = 60 * chosen.minutes, 0.0, 0, chosen.check_seconds
    curve: list[Row] = []
    while clock < total:
        clock += seconds_of(functools.partial(learner.step, clock / total))
        steps += 1
        if clock >= due or clock >= total:
            found = scores(learner.portrait(min(1.0, clock / total)), learner, some)
            curve.append({"seconds": clock, "steps": steps, **found})
            due = clock + chosen.check_seconds
    portrait = learner.portrait(1.0)
    if chosen.save is not None:
        chosen.save.mkdir(parents=True, exist_ok=True)
        portrait.save(chosen.save)
    final = scores(portrait, learner, held_out)
    report.settings |= {
        "minutes": chosen.minutes, "curve_frames": len(some), "held_out_frames": len(held_out),
    }  # fmt: skip
    report.tables["curve"] = curve
    report.tables["marks"] = [mark_row(curve, mark) for mark in chosen.to]
    report.tables["end"] = [{"startup_s": startup, "steps": steps, **final}]
    report.notes += [
        "the schedules end with the clock: a longer training passes the same marks later",
        "startup_s: building the learner, before the clock began",
        "curve and marks: every n-th held-out frame; end: all of them",
    ]


def scores(portrait: Portrait, learner: PortraitLearner, frames: list[int]) -> Row:
    """Measure held-out frames: PSNR of the whole picture and of the box around the mouth, dB."""
    whole, mouth = [], []
    for shown in render_held_out(portrait, learner.dataset.clip, learner.speech.features, frames):
        picture, truth = shown.rendered.color, shown.truth
        whole.append(psnr(picture, truth))
        box = mouth_box(shown.true_labels)
        if box is not None:
            x0, y0, x1, y1 = box
            mouth.append(psnr(picture[y0:y1, x0:x1], truth[y0:y1, x0:x1]))
    return {
        "psnr": float(np.mean(whole)),
        "psnr_mouth": float(np.mean(mouth)) if mouth else None,
    }


def mark_row(curve: list[Row], mark: float) -> Row:
    """Find when a curve first passes a mark; None if it does not."""
    passed = [point for point in curve if point["psnr"] >= mark]
    return {"psnr": mark, "seconds": passed[0]["seconds"] if passed else None}


def _add_scaling(
    report: Report, clip: Clip, config: TrainConfig, chosen: argparse.Namespace
) -> None:
    """Measure a step against the picture's size, the samples per ray and the clip's length."""
    seconds = chosen.seconds or list(SCALING_SECONDS)
    sizes = [chosen.size // 2, chosen.size] if chosen.size else list(SCALING_SIZES)
    with tempfile.TemporaryDirectory() as folder:
        by_size = {
            float(size * size): learner_of(
                write_repeated(clip, Path(folder) / f"{size}px", seconds=seconds[0], size=size),
                config,
            )
            for size in sizes
        }
        _add_cost(report, "pixels", by_size, steps=chosen.steps)
    if config.architecture == "planes":
        by_samples = {
            float(n): learner_of(clip, replace(config, band=replace(config.band, samples=n)))
            for n in SCALING_SAMPLES
        }
        _add_cost(report, "samples_per_ray", by_samples, steps=chosen.steps)
    size = chosen.size or clip.manifest.width
    with tempfile.TemporaryDirectory() as folder:
        by_length = {
            length: learner_of(
                write_repeated(clip, Path(folder) / f"{length}s", seconds=length, size=size), config
            )
            for length in seconds
        }
        _add_cost(report, "clip_seconds", by_length, steps=chosen.steps)
    report.notes.append("exponent: cost of a step ~ what^exponent; 1 is linear, 0 is none")


def _add_cost(
    report: Report, what: str, learners: dict[float, PortraitLearner], *, steps: int
) -> None:
    cases = {
        str(amount): lambda learner=learner: learner.step(PROGRESS)
        for amount, learner in learners.items()
    }
    times = alternate(cases, rounds=steps)
    costs = [statistics.median(measured) for measured in times.values()]
    report.tables[f"step_against_{what}"] = [
        {what: amount, "ms": 1e3 * cost} for amount, cost in zip(learners, costs, strict=True)
    ]
    report.tables.setdefault("exponents", []).append(
        {"step_against": what, "exponent": exponent(list(learners), costs)}
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="fast")
    parser.add_argument("--steps", type=positive, default=20, help="steps to measure")
    parser.add_argument("--minutes", type=above_zero, help="train for so long and draw the curve")
    parser.add_argument("--to", type=numbers, default=[28.0, 30.0, 31.0, 32.0], help="marks, dB")
    parser.add_argument("--check-seconds", type=above_zero, default=30.0, help="between two checks")
    parser.add_argument("--save", type=Path, help="folder for the portrait that --minutes learned")
    parser.add_argument("--scaling", action="store_true", help="cost against size and length")
    parser.add_argument("--seconds", type=numbers, help="with --scaling: lengths of clips")
    return parser.parse_args(given)


if __name__ == "__main__":
    run_command(measure, arguments())
