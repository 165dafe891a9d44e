"""Work beside the caller's: frames rendered by several threads, results written by another.

Threads, not processes: kernels and networks let go of Python's lock while they compute, a thread
starts at once, needs no second copy of the portrait, and cannot be left behind.
"""

import importlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from sspnerf.errors import BackendError, UsageError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

# Answers that may lie finished, or things to write that may wait, before nothing more is begun.
MOST_WAITING = 4


def check_jobs(jobs: int | None) -> int:
    """Choose how many frames are rendered at once.

    Args:
        jobs: How many; None: as many as there are cores for torch.

    Raises:
        UsageError: If it is less than 1.
        BackendError: If more than one is wanted and this machine's kernels serve one at a time.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs is {jobs}; expected 1 or more")
    if _kernels_are_shared():
        return jobs or torch.get_num_threads()
    if jobs is not None and jobs > 1:
        raise BackendError(
            f"{jobs} jobs cannot run here: Numba's threads serve one at a time",
            "leave --jobs out, or install tbb",
        )
    return 1


def in_order(
    run: Callable[[Asked], Answer], asked: Iterable[Asked], *, jobs: int
) -> Generator[Answer, None, None]:
    """Run a function in several threads and give its answers in the order they were asked for.

    The jobs share the cores among them. At most `jobs + MOST_WAITING` answers are asked for ahead
    of the one that is wanted, so memory is bounded. One job works in the caller's thread, and only
    when its answer is wanted.

    Args:
        run: What to do; called from several threads at once.
        asked: Its arguments; asked for from the caller's thread.
        jobs: Threads.

    Yields:
        Answers. An error of `run` is raised in its place; what waits behind it is dropped.
    """
    if jobs == 1:
        yield from map(run, asked)
        return
    threads = _Threads()
    pool = ThreadPoolExecutor(
        jobs, thread_name_prefix="sspnerf-render", initializer=threads.share, initargs=(jobs,)
    )
    waiting: deque[Future[Answer]] = deque()
    try:
        for each in asked:
            waiting.append(pool.submit(run, each))
            if len(waiting) >= jobs + MOST_WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        threads.restore()


class Behind(Generic[Asked]):
    """Does something with one thing after the other in a thread of its own; a context manager.

    Where the block ends well, all that was put is done before it is left. Where it does not, what
    waits is dropped.
    """

    def __init__(self, run: Callable[[Asked], None]) -> None:
        """Say what to do; nothing is started before the block is entered.

        Args:
            run: Called with each thing, in the order they were put.
        """
        self._run = run
        self._waiting: queue.Queue[Asked | _End] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="sspnerf-write", daemon=True)
        self._has_ended = threading.Event()
        self._is_dropped = False
        self._error: BaseException | None = None

    def __enter__(self) -> "Behind[Asked]":
        """Start the thread."""
        self._thread.start()
        return self

    def put(self, thing: Asked) -> None:
        """Hand over the next thing; waits while too many wait already.

        Raises:
            BaseException: The error that an earlier thing met, once.
        """
        if self._error is None:
            self._waiting.put(thing)
        self._raise()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until all is done, or drop what waits; raise what went wrong."""
        self._is_dropped = kind is not None
        try:
            self._end()
        except BaseException:
            # Interrupted while waiting: whoever closes the files must be alone with them.
            self._is_dropped = True
            self._end()
            raise
        if kind is None:
            self._raise()

    def _work(self) -> None:
        while not isinstance(thing := self._waiting.get(), _End):
            if self._is_dropped or self._error is not None:
                continue
            try:
                self._run(thing)
            except BaseException as error:
                self._error = error
        self._has_ended.set()

    def _end(self) -> None:
        self._waiting.put(_End())
        # A join that is interrupted takes a thread that still works for one that has ended
        # (Python 3.11), so the thread says itself when it has.
        self._has_ended.wait()
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class _End:
    """Tells a thread that nothing more follows."""


class _Threads:
    """How many threads torch and Numba use inside one call: shared by the jobs, then as before."""

    def __init__(self) -> None:
        self._torch = torch.get_num_threads()

    def share(self, jobs: int) -> None:
        """Take this thread's share; called in each of the jobs' threads."""
        torch.set_num_threads(max(1, self._torch // jobs))
        numba = _numba()
        if numba is not None:
            numba.set_num_threads(max(1, numba.get_num_threads() // jobs))

    def restore(self) -> None:
        """Let threads that are begun from now on have as many as before."""
        torch.set_num_threads(self._torch)


def _kernels_are_shared() -> bool:
    """Say whether several threads may run compiled kernels at once."""
    numba = _numba()
    if numba is None:
        return True
    # Numba names its kind of threads only after it has started them, which this call does.
    numba.set_num_threads(numba.get_num_threads())
    return bool(numba.threading_layer() != "workqueue")


def _numba() -> Any:  # noqa: ANN401 - a module whose functions carry no types
    """Return Numba; None where it cannot be had, and PyTorch's own operations run instead."""
    try:
        return importlib.import_module("numba")
    except ImportError:
        return None
