"""What a person sees while a stage works: bars on a terminal, a few lines elsewhere; on stderr."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sspnerf.errors import SspnerfError

if TYPE_CHECKING:
    from sspnerf.train.trainer import Progress as TrainingProgress

out, err = Console(), Console(stderr=True)

_NAME = TextColumn("[bold]{task.description}")
# Where no bar can be drawn, a line is printed each time this share of the work is done.
LINE_SHARE = 0.1


class _Lines:
    """Prints a line now and then where stderr is a file or a pipe."""

    def __init__(self) -> None:
        self._printed = 0.0

    def show(self, share: float, line: str) -> None:
        if not err.is_terminal and (share - self._printed >= LINE_SHARE - 1e-9):
            self._printed = share
            err.print(line, markup=False, highlight=False, soft_wrap=True)


def _shown(*columns: ProgressColumn) -> Progress:
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show frames done and frames per second; yields a callback (done, in all)."""
    rate = TextColumn("{task.fields[rate]}")
    columns = (_NAME, BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn())
    lines = _Lines()
    with _shown(*columns, TimeRemainingColumn()) as shown:
        task = shown.add_task(what, total=None, rate="")

        def advance(done: int, total: int) -> None:
            speed = shown.tasks[task].speed
            rate = f"{speed:.1f} frames/s" if speed else ""
            shown.update(task, completed=done, total=total, rate=rate)
            lines.show(done / total, f"{what}: {done} of {total} frames")

        yield advance


@contextlib.contextmanager
def stage_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar per stage; yields a callback (stage, done, in all)."""
    with _shown(_NAME, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as shown:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
                _Lines().show(1.0, f"prepare: {stage}")
            shown.update(tasks[stage], completed=done, total=total)

        yield advance


@contextlib.contextmanager
def training_bar() -> Iterator[Callable[["TrainingProgress"], None]]:
    """Show training: steps per second, loss, PSNR, time left; yields a callback."""
    state, left = TextColumn("{task.fields[state]}"), TextColumn("{task.fields[left]}")
    share = TextColumn("{task.percentage:>3.0f}%")
    lines = _Lines()
    with _shown(_NAME, BarColumn(), share, state, TimeElapsedColumn(), left) as shown:
        task = shown.add_task("train", total=1.0, state="", left="")

        def advance(now: "TrainingProgress") -> None:
            state = (
                f"step {now.step}, {now.steps_per_second:.1f} steps/s, "
                f"loss {now.report.loss:.4f}, PSNR of rays {now.report.psnr:.1f} dB"
            )
            left = f"{now.seconds * (1 - now.share) / max(now.share, 1e-6):.0f} s left"
            shown.update(task, completed=now.share, state=state, left=left)
            lines.show(now.share, f"train: {state}, {left}")

        yield advance


def warn(line: str) -> None:
    """Print something that is not as it should be, but no reason to stop."""
    err.print(f"warning: {line}", markup=False, highlight=False, soft_wrap=True)


def tell(line: str) -> None:
    """Print a line of progress."""
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def say(error: SspnerfError) -> None:
    """Print an error as one line, and its hint as another."""
    err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"hint: {error.hint}", markup=False, highlight=False, soft_wrap=True)
