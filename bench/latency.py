"""How long it takes from the call of `speak` to the first picture.

    python -m bench.latency --clip CLIP [--run RUN] [--size 256] [--seconds 2,20,120] [--json]

Cold: the first call in a fresh program, after the portrait was loaded. Warm: the calls after that.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.clips import save_run
from bench.machine import Report, Row, numbers, options, positive, run_command
from bench.portraits import portrait_of, resized, sound
from bench.watching import module
from sspnerf.data.clip import open_clip
from sspnerf.errors import SspnerfError
from sspnerf.render.film import speak
from sspnerf.render.portrait import Portrait, load_portrait

SECONDS = (2.0, 20.0, 120.0)
SIZE = 256
# After the first picture so many more say what a picture takes.
MORE_PICTURES = 3
COLD = "--cold-of"


def measure(chosen: argparse.Namespace) -> Report:
    """Take all figures."""
    clip, size = open_clip(chosen.clip), chosen.size or SIZE
    report = Report(
        "latency",
        {
            "clip": str(chosen.clip),
            "size": size,
            "rounds": chosen.rounds,
            "portrait": "untrained" if chosen.run is None else str(chosen.run),
        },
    )
    portrait = resized(portrait_of(clip, chosen.run), size)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = save_run(portrait, Path(folder) / "run")
        for seconds in chosen.seconds or SECONDS:
            waveform = sound(clip, seconds)
            cold = _median([_cold(run, waveform, Path(folder)) for _ in range(chosen.rounds)])
            first_picture(portrait, waveform)
            warm = _median([first_picture(portrait, waveform) for _ in range(chosen.rounds)])
            rows += [
                {"recording_s": seconds, "call": "cold", **cold},
                {"recording_s": seconds, "call": "warm", **warm},
            ]
    report.tables["first_picture"] = rows
    report.notes += [
        "first_picture_ms = speak_ms (level, features) + render_ms (the first picture); medians",
        "next_picture_ms: each of the following pictures; load_ms: load_portrait, before",
    ]
    return report


def first_picture(portrait: Portrait, waveform: NDArray[np.float32]) -> Row:
    """Time one call: parts, ms."""
    began = time.perf_counter()
    film = speak(portrait, waveform)
    spoken = time.perf_counter()
    stream = film.pictures()
    next(stream)
    shown = time.perf_counter()
    more = sum(1 for _ in itertools.islice(stream, MORE_PICTURES))
    ended = time.perf_counter()
    stream.close()
    return {
        "first_picture_ms": 1e3 * (shown - began),
        "speak_ms": 1e3 * (spoken - began),
        "render_ms": 1e3 * (shown - spoken),
        "next_picture_ms": 1e3 * (ended - shown) / more if more else None,
    }


def _cold(run: Path, waveform: NDArray[np.float32], folder: Path) -> Row:
    """Do the same in a fresh program."""
    path = folder / "waveform.npy"
    np.save(path, waveform)
    command = module("bench.latency", COLD, run, path)
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise SspnerfError(f"{' '.join(command)} failed: {last}")
    answer: Row = json.loads(found.stdout)
    return answer


def cold_program(run: Path, waveform: Path) -> Row:
    """Load a portrait, and time its first call."""
    began = time.perf_counter()
    portrait = load_portrait(run)
    loaded = time.perf_counter()
    found = first_picture(portrait, np.load(waveform))
    return {**found, "load_ms": 1e3 * (loaded - began)}


def _median(found: list[Row]) -> Row:
    return {
        name: None if value is None else statistics.median(row[name] for row in found)
        for name, value in found[0].items()
    }


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__, run=True)
    parser.add_argument("--seconds", type=numbers, help="lengths; 2,20,120 if not given")
    parser.add_argument("--rounds", type=positive, default=3)
    return parser.parse_args(given)


if __name__ == "__main__":
    if sys.argv[1:2] == [COLD]:
        sys.stdout.write(json.dumps(cold_program(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        run_command(measure, arguments())
