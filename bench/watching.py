"""Run a program and watch how much memory it and its own programs hold."""

import contextlib
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from sspnerf.errors import SspnerfError

POLL_S = 0.1
# How long a program may take to end when it is asked to.
ENDING_S = 30.0


class Watched(NamedTuple):
    """What was seen of a program."""

    seconds: float
    processor_seconds: float
    peak_mb: float
    """Most memory held at once, mapped files included."""
    peak_own_mb: float
    """The same without mapped files, which the system takes back when it wants."""


def run_and_watch(command: list[str], *, at_most_s: float | None = None) -> Watched:
    """Run a program; pages that several of its processes share count in each.

    Args:
        command: The program and its arguments.
        at_most_s: Interrupt it after this long, s; None: let it end by itself.

    Raises:
        SspnerfError: If it fails.
    """
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    most, most_own, interrupted = 0.0, 0.0, False
    process = subprocess.Popen(  # noqa: S603 - our own
        command, stdout=subprocess.DEVNULL, preexec_fn=_hear_ctrl_c
    )
    try:
        while process.poll() is None and not interrupted:
            held = [_resident_mb(one) for one in _family(process.pid)]
            most = max(most, sum(sum(parts.values()) for parts in held))
            most_own = max(most_own, sum(_own(parts) for parts in held))
            time.sleep(POLL_S)
            interrupted = at_most_s is not None and time.monotonic() - began > at_most_s
    finally:
        _end(process)
    if process.returncode and not interrupted:
        raise SspnerfError(f"{' '.join(command)} failed with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Watched(time.monotonic() - began, processor, most, most_own)


def module(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def _hear_ctrl_c() -> None:
    """Let a program hear Ctrl-C even where this one runs in the background and does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt a program that still runs, as Ctrl-C would."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _family(process: int) -> list[int]:
    """Return a process and all that it started, as far as the system tells."""
    found = [process]
    for one in found:
        for thread in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, thread.read_text().split())
    return found


def _resident_mb(process: int) -> dict[str, float]:
    """Memory of a running program by kind; mapped files are handed back when others want it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines if line.startswith("Rss"))
    return {name.rstrip(":"): int(kilobytes) / 1024 for name, kilobytes, _ in rows}


def _own(held: dict[str, float]) -> float:
    return held.get("RssAnon", 0.0) + held.get("RssShmem", 0.0)
