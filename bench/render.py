"""How many frames a second are rendered.

    python -m bench.render --clip CLIP [--run RUN] [--size 256] [--scaling] [--json]

`fast` is rendered whole: one picture after the other in this process, and as a film from the first
call of `speak` to the finished file. `paper` and `adnerf` are rendered on a few rows through the
middle of the same frame, and the figure is scaled to the whole frame; what they cost does not
depend on what they have learned.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.machine import (
    Report,
    Row,
    above_zero,
    alternate,
    exponent,
    options,
    positive,
    ratio,
    run_command,
    seconds_of,
)
from bench.portraits import (
    float32_fields,
    pictures,
    portrait_of,
    resized,
    sound,
    strip,
    untrained,
    with_samples,
)
from sspnerf.config import TrainConfig
from sspnerf.data.clip import Clip, open_clip
from sspnerf.render.film import speak
from sspnerf.render.portrait import Portrait

SIZES = (128, 256, 512)
BASELINES = ("paper", "adnerf")
FLOAT32_ADNERF = "adnerf float32"
SCALING_SIZES = (128, 181, 256, 362, 512)
SCALING_SAMPLES = (4, 8, 16)
# A strip holds at least this many rays: fewer would not fill the machine.
LEAST_RAYS = 512


def measure(chosen: argparse.Namespace, configs: dict[str, TrainConfig] | None = None) -> Report:
    """Take all figures.

    Args:
        chosen: The options.
        configs: Settings to use in place of the presets', by the preset's name.
    """
    clip, configs = open_clip(chosen.clip), configs or {}
    portrait = portrait_of(clip, chosen.run, configs.get("fast"))
    report = Report(
        "render",
        {
            "clip": str(chosen.clip),
            "portrait": "untrained" if chosen.run is None else str(chosen.run),
            "rounds": chosen.rounds,
            "film_frames": chosen.frames,
        },
    )
    if chosen.scaling:
        sizes = (chosen.size // 2, chosen.size) if chosen.size else SCALING_SIZES
        _add_scaling(report, portrait, clip, sizes=sizes, rounds=chosen.rounds)
        return report
    baselines = {name: untrained(clip, name, configs.get(name)) for name in BASELINES}
    for size in [chosen.size] if chosen.size else SIZES:
        rows = _one_size(portrait, baselines, clip, size=size, chosen=chosen)
        report.tables.setdefault("frames_per_second", []).extend(rows)
    slowest = {
        row["size"]: row["seconds_per_frame"]
        for row in report.tables["frames_per_second"]
        if row["preset"] == FLOAT32_ADNERF
    }
    report.tables["films"] = [
        film_row(resized(portrait, size), clip, frames=chosen.frames, slowest_s=slowest[size])
        for size in slowest
    ]
    report.notes += [
        "times_float32_adnerf: how many times as many frames a second as adnerf in float32; the "
        "median over rounds in which all were measured in turn",
        "rows: of the frame, rendered, then scaled to the whole; paper and adnerf are untrained",
        "films: speak(portrait, sound).save(film), with encoding, as many frames at once as cores; "
        "steady: from the first finished frame to the last",
    ]
    return report


def _one_size(
    portrait: Portrait, baselines: dict[str, Portrait], clip: Clip, *, size: int,
    chosen: argparse.Namespace,
) -> list[Row]:  # fmt: skip
    """Measure all presets in turn at one size."""
    waveform = sound(clip, 60.0)
    cases: dict[str, Callable[[], object]] = {
        "fast": next_of(pictures(resized(portrait, size), waveform))
    }
    heights = {"fast": size}
    for name, baseline in baselines.items():
        whole = resized(baseline, size)
        heights[name] = rows_for(whole, waveform, seconds=chosen.strip_seconds)
        cases[name] = _strip_of(whole, heights[name], waveform)
    exact = cases["adnerf"]

    def in_float32() -> None:
        with float32_fields():
            exact()

    cases[FLOAT32_ADNERF], heights[FLOAT32_ADNERF] = in_float32, heights["adnerf"]
    times = {
        name: [seconds * size / heights[name] for seconds in measured]
        for name, measured in alternate(cases, rounds=chosen.rounds).items()
    }
    return [
        {
            "preset": name,
            "size": size,
            "rows": heights[name],
            "seconds_per_frame": statistics.median(measured),
            "frames_per_s": 1 / statistics.median(measured),
            "times_float32_adnerf": ratio(times[FLOAT32_ADNERF], measured),
        }
        for name, measured in times.items()
    ]


def next_of(stream: Iterator[object]) -> Callable[[], object]:
    """Return a call that renders the next picture of a film."""
    return lambda: next(stream)


def _strip_of(portrait: Portrait, rows: int, waveform: NDArray[np.float32]) -> Callable[[], object]:
    return next_of(pictures(strip(portrait, rows), waveform))


def rows_for(portrait: Portrait, waveform: NDArray[np.float32], *, seconds: float) -> int:
    """Choose how many rows take about so long, s."""
    width, height = portrait.info.width, portrait.info.height
    least = min(height, -(-LEAST_RAYS // width))
    call = _strip_of(portrait, least, waveform)
    call()
    return max(least, min(height, int(least * seconds / seconds_of(call))))


def film_row(portrait: Portrait, clip: Clip, *, frames: int, slowest_s: float) -> Row:
    """Make a film and time it, from the call of `speak` to the finished file.

    Args:
        portrait: Who speaks.
        clip: Whose sound is spoken.
        frames: Frames of the film.
        slowest_s: What adnerf takes for a frame in float32, s.
    """
    waveform = sound(clip, frames / portrait.info.frame_rate_hz)
    done: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        film = speak(portrait, waveform)
        film.save(Path(folder) / "film.mp4", progress=lambda *_: done.append(time.perf_counter()))
        seconds = time.perf_counter() - began
    steady = (len(done) - 1) / (done[-1] - done[0]) if len(done) > 1 else None
    return {
        "size": portrait.info.width,
        "frames": film.frames,
        "seconds": seconds,
        "frames_per_s": film.frames / seconds,
        "steady_frames_per_s": steady,
        "times_float32_adnerf": film.frames / seconds * slowest_s,
    }


def _add_scaling(
    report: Report, portrait: Portrait, clip: Clip, *, sizes: tuple[int, ...], rounds: int
) -> None:
    """Measure what a frame costs against pixels and samples, and a film against its frames."""
    waveform = sound(clip, 60.0)
    by_size = {str(s): next_of(pictures(resized(portrait, s), waveform)) for s in sizes}
    pixels = [float(size * size) for size in sizes]
    _add_curve(report, "pixels", pixels, alternate(by_size, rounds=rounds))
    shown = resized(portrait, sizes[len(sizes) // 2])
    by_samples = {
        str(n): next_of(pictures(with_samples(shown, n), waveform)) for n in SCALING_SAMPLES
    }
    _add_curve(
        report, "samples_per_ray", [float(n) for n in SCALING_SAMPLES],
        alternate(by_samples, rounds=rounds),
    )  # fmt: skip
    small = resized(portrait, sizes[0])
    counts = [4, 8, 16]
    films = {
        str(n): lambda n=n: list(itertools.islice(pictures(small, waveform), n)) for n in counts
    }
    _add_curve(
        report, "frames", [float(n) for n in counts], alternate(films, rounds=max(1, rounds // 2))
    )
    report.notes.append("exponent: cost ~ what^exponent; 1 is linear")


def _add_curve(
    report: Report, what: str, amounts: list[float], times: dict[str, list[float]]
) -> None:
    costs = [statistics.median(measured) for measured in times.values()]
    report.tables[f"cost_against_{what}"] = [
        {what: amount, "seconds": cost, "seconds_per_unit": cost / amount}
        for amount, cost in zip(amounts, costs, strict=True)
    ]
    report.tables.setdefault("exponents", []).append(
        {"cost_against": what, "exponent": exponent(amounts, costs)}
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__, run=True)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--frames", type=positive, default=60, help="frames of a film")
    parser.add_argument("--strip-seconds", type=above_zero, default=1.0, help="of the slow presets")
    parser.add_argument("--scaling", action="store_true", help="cost against size and samples")
    return parser.parse_args(given)


if __name__ == "__main__":
    run_command(measure, arguments())
