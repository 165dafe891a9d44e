"""Work through all frames in chunks: several at once, and each only once, also after a kill."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from sspnerf.prepare.workspace import Workspace

CHUNK_FRAMES = 128
# More threads than this cost more memory than they save time.
MOST_THREADS = 8


def threads() -> int:
    """How many chunks are worked on at once."""
    return min(os.cpu_count() or 1, MOST_THREADS)


def split_into_chunks(frames: int, length: int = CHUNK_FRAMES) -> list[range]:
    """Cut a clip into an even number of equal chunks, so that few threads end at the same time.

    Args:
        frames: Of the clip, at least 1.
        length: No chunk has more frames.

    Example:
        >>> split_into_chunks(9, 4)
        [range(0, 3), range(3, 6), range(6, 9)]
    """
    step = -(-frames // (2 * -(-frames // (2 * length))))
    return [range(first, min(first + step, frames)) for first in range(0, frames, step)]


def over_chunks(
    work: Workspace, name: str, chunks: list[range], process: Callable[[range], None]
) -> None:
    """Let a stage work on all frames, chunk by chunk, on several threads.

    Args:
        work: Knows which chunks an interrupted run has finished.
        name: Of the stage, for the progress.
        chunks: From `split_into_chunks`.
        process: Works on the frames of one chunk; runs on several threads at once, and must not
            depend on the order of chunks. It may ask `work.check_stop` now and then.
    """
    frames = chunks[-1].stop
    left = [chunk for chunk in chunks if not work.is_done(chunk)]
    done = frames - sum(map(len, left))
    work.progress(name, done, frames)
    work.stopping.clear()
    with ThreadPoolExecutor(threads()) as pool:
        running = {pool.submit(process, chunk): chunk for chunk in left}
        try:
            while running:
                # Now and then control comes back here, so that Ctrl-C is noticed.
                ended, _ = wait(running, return_when=FIRST_COMPLETED, timeout=0.5)
                # What is done counts, also where something beside it went wrong.
                for job in sorted(ended, key=lambda job: job.exception() is not None):
                    job.result()
                    chunk = running.pop(job)
                    work.mark_done(chunk)
                    work.release()
                    done += len(chunk)
                    work.progress(name, done, frames)
        except BaseException:
            work.stopping.set()
            pool.shutdown(cancel_futures=True)
            raise


def with_neighbours(chunk: range, reach: int, frames: int) -> range:
    """Widen a chunk by some frames on either side, inside the clip."""
    return range(max(0, chunk.start - reach), min(frames, chunk.stop + reach))


def in_order(
    make: Callable[[int], NDArray[np.uint8]], indices: range
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Make pictures on several threads, a few ahead, and give them in order.

    Args:
        make: Makes the picture of a frame; runs on several threads at once.
        indices: The frames.

    Yields:
        Each frame and its picture.
    """
    ahead = 2 * threads()
    with ThreadPoolExecutor(threads()) as pool:
        running: deque[tuple[int, Future[NDArray[np.uint8]]]] = deque()
        try:
            for index in indices:
                running.append((index, pool.submit(make, index)))
                if len(running) > ahead:
                    first, job = running.popleft()
                    yield first, job.result()
            while running:
                first, job = running.popleft()
                yield first, job.result()
        finally:
            pool.shutdown(cancel_futures=True)
