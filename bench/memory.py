"""How much memory training and rendering hold, against the length of the clip and of the film.

    python -m bench.memory --clip CLIP [--run RUN] [--size 512] [--seconds 8,50,500] [--json]

Each case is a program of its own: `sspnerf train` for some steps on the clip's frames, repeated to
the length and brought to the size, and `sspnerf render` of a recording of that length. A film that
takes longer than --watch is interrupted: what its length costs is spent before.
"""

import argparse
import tempfile
from pathlib import Path

from bench.clips import save_run, write_repeated
from bench.machine import (
    Report,
    Row,
    above_zero,
    exponent,
    numbers,
    options,
    positive,
    run_command,
)
from bench.portraits import portrait_of, resized, sound
from bench.watching import module, run_and_watch
from sspnerf.data.clip import Clip, open_clip
from sspnerf.media.audio import write_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ

SECONDS = (8.0, 50.0, 500.0)


def measure(chosen: argparse.Namespace) -> Report:
    """Take all figures."""
    clip = open_clip(chosen.clip)
    size, lengths = chosen.size or clip.manifest.width, chosen.seconds or list(SECONDS)
    report = Report(
        "memory",
        {
            "clip": str(chosen.clip),
            "size": size,
            "steps": chosen.steps,
            "watch_s": chosen.watch,
            "portrait": "untrained" if chosen.run is None else str(chosen.run),
        },
    )
    # First: a run that cannot be loaded is refused before anything takes long.
    portrait = resized(portrait_of(clip, chosen.run), size) if "render" in chosen.what else None
    with tempfile.TemporaryDirectory() as folder:
        if "train" in chosen.what:
            rows = [
                _train_row(clip, Path(folder), seconds=length, size=size, chosen=chosen)
                for length in lengths
            ]
            _add_rows(report, "training", rows)
        if portrait is not None:
            run = save_run(portrait, Path(folder) / "run")
            rows = [
                _render_row(clip, run, Path(folder), seconds=length, watch=chosen.watch)
                for length in lengths
            ]
            _add_rows(report, "rendering", rows)
    report.notes += [
        "peak_mb counts mapped files too, which the system takes back when it wants; "
        "peak_own_mb does not; both sum over all processes of the program",
        "exponent: peak of own memory ~ length^exponent; 0 does not depend on it",
    ]
    return report


def _add_rows(report: Report, name: str, rows: list[Row]) -> None:
    report.tables[name] = rows
    if len(rows) > 1:
        lengths, peaks = [r["length_s"] for r in rows], [r["peak_own_mb"] for r in rows]
        report.tables.setdefault("exponents", []).append(
            {"memory_of": name, "exponent": exponent(lengths, peaks)}
        )


def _train_row(
    clip: Clip, folder: Path, *, seconds: float, size: int, chosen: argparse.Namespace
) -> Row:
    """Train on a clip of some length; it is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "clip"
        write_repeated(clip, path, seconds=seconds, size=size)
        command = module("sspnerf", "train", path, Path(place) / "run", "--steps", chosen.steps)
        watched = run_and_watch([*command, *chosen.train])
        on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {"length_s": seconds, "clip_mb": on_disk / 2**20, **watched._asdict()}


def _render_row(clip: Clip, run: Path, folder: Path, *, seconds: float, watch: float) -> Row:
    """Render a film of some length, or as much of it as the time allows."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        speech = Path(place) / "speech.wav"
        write_waveform(speech, sound(clip, seconds), SPEECH_SAMPLE_RATE_HZ)
        film = Path(place) / "film.mp4"
        watched = run_and_watch(module("sspnerf", "render", run, speech, film), at_most_s=watch)
        return {"length_s": seconds, "finished": film.is_file(), **watched._asdict()}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__, run=True)
    parser.add_argument("--seconds", type=numbers, help="lengths; 8,50,500 if not given")
    parser.add_argument("--steps", type=positive, default=200, help="steps of a training")
    parser.add_argument("--watch", type=above_zero, default=60.0, help="longest rendering, s")
    parser.add_argument(
        "--what", choices=("train", "render"), nargs="+", default=("train", "render")
    )
    parser.add_argument(
        "--train", nargs=argparse.REMAINDER, default=[], help="last: flags of train"
    )
    return parser.parse_args(given)


if __name__ == "__main__":
    run_command(measure, arguments())
