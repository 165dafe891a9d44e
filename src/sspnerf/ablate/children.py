"""Child processes of an ablation: started, watched, and stopped so that they can save.

A child is a process of its own, because each training wants its own threads, and one that runs out
of memory must not take the others with it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

Report = Callable[[str], None]
Command = Sequence[str]

POLL_S = 0.1
# A child that is told to stop saves a checkpoint and a portrait first.
STOP_S = 120.0
ERROR_LINES = 4


def python_command() -> Command:
    """Return the command that stands for `sspnerf` in this interpreter."""
    return (sys.executable, "-m", "sspnerf")


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def work_off(
    queue: Mapping[str, Sequence[Command]], folder: Path, *, jobs: int, report: Report
) -> dict[str, str]:
    """Run each name's commands one after the other, and several names at once.

    Args:
        queue: By name, its commands; a command that fails ends its name.
        folder: Where <name>.log is written; what children print goes there.
        jobs: Names at once.
        report: Called with a line whenever something happens.

    Returns:
        Why names failed: their own errors, or their last lines; empty if none did.

    Raises:
        KeyboardInterrupt: After all children have stopped.
    """
    waiting, running = list(queue.items()), list[_Child]()
    failed: dict[str, str] = {}
    environment = _shared_cores(min(jobs, max(1, len(queue))))
    with _terminated_like_ctrl_c():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    name, commands = waiting.pop(0)
                    # Among the running ones before it runs: Ctrl-C may come at any moment.
                    running.append(_Child(name, commands, folder, environment, report))
                    running[-1].start()
                    report(f"{name}: started")
                running = [child for child in running if not child.is_over(failed)]
                time.sleep(POLL_S if running else 0)
        except KeyboardInterrupt:
            report(f"stopping {len(running)} runs; they save what they have")
            raise
        finally:
            _stop(running)
    return failed


class _Child:
    """One name: its commands one after the other, its log, and what its log says."""

    def __init__(
        self,
        name: str,
        commands: Sequence[Command],
        folder: Path,
        environment: Mapping[str, str],
        report: Report,
    ) -> None:
        self.name, self._left, self._report = name, list(commands), report
        self._environment = environment
        log = folder / f"{name}.log"
        self._log: IO[bytes] = log.open("wb")
        self._reader: IO[bytes] = log.open("rb")
        self._lines = list[str]()
        self._unfinished = b""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the next command."""
        # In a session of its own, Ctrl-C reaches the child once, from us, and not twice.
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            self._left.pop(0),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=dict(self._environment),
            start_new_session=True,
        )

    def is_over(self, failed: dict[str, str]) -> bool:
        """Look after the process; True when all is done or one command failed."""
        code = None if self._process is None else self._process.poll()
        self._pass_on()
        if code is None:
            return False
        if code == 0 and self._left:
            self.start()
            return False
        if code:
            failed[self.name] = self._why(code)
            self._report(f"{self.name}: failed: {failed[self.name]}")
        else:
            self._report(f"{self.name}: done")
        self._close()
        return True

    def interrupt(self) -> None:
        """Let the process stop by itself, as by Ctrl-C."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def end(self, wait_s: float) -> None:
        """Wait for the process for a while, then end it; doing it twice is harmless."""
        try:
            if self._process is not None:
                self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._report(f"{self.name}: did not stop by itself and was killed")
        finally:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._close()

    def _close(self) -> None:
        self._log.close()
        self._reader.close()

    def _pass_on(self) -> None:
        """Read what the log has grown by, and report the lines of progress."""
        *lines, self._unfinished = (self._unfinished + self._reader.read()).split(b"\n")
        for line in (line.decode(errors="replace").strip() for line in lines):
            if line.startswith("train: "):
                self._report(f"{self.name}: {line.removeprefix('train: ')}")
            self._lines += [line] if line else []

    def _why(self, code: int) -> str:
        """Say why the process failed: its own error, or its last words and the exit code."""
        errors = [line for line in self._lines if line.startswith(("error: ", "hint: "))]
        if errors:
            return " | ".join(errors)
        end = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return " | ".join([end, *self._lines[-ERROR_LINES:]])


def _shared_cores(jobs: int) -> dict[str, str]:
    """Return this process's environment with each child's part of the cores in it."""
    threads = str(max(1, available_cores() // jobs))
    return {**os.environ, "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}


def _stop(children: Sequence[_Child]) -> None:
    """Interrupt all children, wait while they save, and end those that do not end."""
    for child in children:
        child.interrupt()
    ends = time.monotonic() + STOP_S
    try:
        for child in children:
            child.end(max(0.0, ends - time.monotonic()))
    finally:
        # Asked to stop twice, nobody waits any more.
        for child in children:
            child.end(0.0)


@contextlib.contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C meanwhile: children in sessions of their own would live on."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Only the main thread may set handlers; elsewhere SIGTERM stays as it is.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
