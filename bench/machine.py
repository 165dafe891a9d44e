"""What all benchmarks share: the machine, the commit, rounds, tables, options."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from sspnerf.console import say
from sspnerf.errors import SspnerfError, UsageError
from sspnerf.ops.backend import choose, field_dtype

Row = dict[str, Any]
WIDTH = 150


def device() -> torch.device:
    """Return where portraits are rendered."""
    return torch.device("cpu")


def machine() -> Row:
    """Describe what the figures were taken on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "torch": torch.__version__,
        "numba": numba.__version__,
        "torch_threads": torch.get_num_threads(),
        "numba_threads": numba.get_num_threads(),
        "backend": choose(device()).name,
        "field_dtype": str(field_dtype(device())).removeprefix("torch."),
    }  # fmt: skip


def _processor() -> str:
    """Name the processor, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """Return what git calls the working tree; "unknown" outside one."""
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).parent
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip() or "unknown"


def seconds_of(call: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def alternate(cases: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Time cases in turn, so that a busy machine slows all of them alike.

    Each is called once before, unmeasured.

    Args:
        cases: What to call, by name.
        rounds: How often each is measured.

    Returns:
        Seconds of each round, by name.
    """
    for call in cases.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, call in cases.items():
            times[name].append(seconds_of(call))
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return the median over rounds of how many times as long one takes.

    Example:
        >>> ratio([2.0, 9.0, 6.0], [1.0, 3.0, 3.0])
        2.0
    """
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit cost ~ size^exponent: 1 is linear, 0 does not depend.

    Example:
        >>> round(exponent([1, 2, 4], [3, 6, 12]), 6)
        1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


@dataclass
class Report:
    """What a benchmark found: settings, tables by name, and what has to be said about them."""

    benchmark: str
    settings: Row
    tables: dict[str, list[Row]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> Row:
        """Return everything as JSON can hold it."""
        return {
            "benchmark": self.benchmark,
            "machine": machine(),
            "commit": commit(),
            "settings": self.settings,
            "notes": self.notes,
            **self.tables,
        }

    def show(self, *, as_json: bool) -> None:
        """Print it."""
        if as_json:
            sys.stdout.write(json.dumps(self.to_json(), indent=2) + "\n")
            return
        console = Console(width=WIDTH)
        console.print(f"bench.{self.benchmark}, commit {commit()}")
        console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
        console.print(", ".join(f"{name} {value}" for name, value in self.settings.items()))
        # What sums up the others comes last.
        for name in sorted(self.tables, key=lambda name: name == "exponents"):
            console.print(_table(name, self.tables[name]))
        for note in self.notes:
            console.print(f"- {note}")


def _table(name: str, rows: list[Row]) -> Table:
    shown = Table(title=name.replace("_", " "), title_justify="left")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for column in columns:
        words = any(isinstance(row.get(column), str) for row in rows)
        shown.add_column(column.replace("_", " "), justify="left" if words else "right")
    for row in rows:
        shown.add_row(*(_cell(row.get(column)) for column in columns))
    return shown


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever a row holds
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def options(description: str | None, *, run: bool = False) -> argparse.ArgumentParser:
    """Begin a command's options with those that all have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, required=True, help="folder of a prepared clip")
    parser.add_argument("--size", type=positive, help="side of the picture, px")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    if run:
        parser.add_argument("--run", type=Path, help="a run's folder; untrained if not given")
    return parser


def positive(text: str) -> int:
    """Read a whole number of 1 or more.

    Raises:
        ArgumentTypeError: If it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of 1 or more")
    return int(text)


def above_zero(text: str) -> float:
    """Read a number above 0.

    Raises:
        ArgumentTypeError: If it is none.
    """
    found = numbers(text)
    if len(found) > 1:
        raise argparse.ArgumentTypeError(f"{text} is more than one number")
    return found[0]


def numbers(text: str) -> list[float]:
    """Read numbers above 0, separated by commas, growing.

    Raises:
        ArgumentTypeError: If they are none.
    """
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] <= 0 or not np.isfinite(found).all():
        raise argparse.ArgumentTypeError(f"{text} is not made of numbers above 0")
    return found


def run_command(
    measure: Callable[[argparse.Namespace], Report], chosen: argparse.Namespace
) -> None:
    """Measure and print; errors of ours become one line."""
    try:
        measure(chosen).show(as_json=chosen.json)
    except SspnerfError as error:
        say(error)
        sys.exit(error.exit_code)


def check_size(size: int | None, have: int) -> None:
    """Refuse a size that a clip does not have, where nothing is resampled.

    Raises:
        UsageError: If they differ.
    """
    if size is not None and size != have:
        raise UsageError(
            f"--size is {size} and the clip is of {have} px; clips are not resampled here",
            "prepare the video again with that size",
        )
