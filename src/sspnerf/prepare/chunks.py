"""Work through all frames in chunks: several at once, and each only once, also after a kill."""

import os
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from sspnerf.prepare.workspace import Workspace

CHUNK_FRAMES = 128
# More threads than this cost more memory than they save time.
MOST_THREADS = 8


def threads() -> int:
    """How many chunks are worked on at once."""
    return min(os.cpu_count() or 1, MOST_THREADS)


def split_into_chunks(frames: int, length: int = CHUNK_FRAMES) -> list[range]:
    """Cut a clip into chunks.

    Example:
        >>> split_into_chunks(5, 2)
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(first, min(first + length, frames)) for first in range(0, frames, length)]


def over_chunks(work: Workspace, name: str, frames: int, process: Callable[[range], None]) -> None:
    """Let a stage work on all frames, chunk by chunk, on several threads.

    Args:
        work: Knows which chunks an interrupted run has finished.
        name: Of the stage, for the progress.
        frames: Of the clip.
        process: Works on the frames of one chunk; runs on several threads at once, and must not
            depend on the order of chunks.
    """
    chunks = split_into_chunks(frames)
    left = [chunk for chunk in chunks if not work.is_done(chunk)]
    done = frames - sum(map(len, left))
    work.progress(name, done, frames)
    with ThreadPoolExecutor(threads()) as pool:
        running = {pool.submit(process, chunk): chunk for chunk in left}
        try:
            while running:
                ended, _ = wait(running, return_when=FIRST_EXCEPTION, timeout=0.5)
                for job in ended:
                    job.result()
                    chunk = running.pop(job)
                    work.mark_done(chunk)
                    work.release()
                    done += len(chunk)
                    work.progress(name, done, frames)
        finally:
            pool.shutdown(cancel_futures=True)


def with_neighbours(chunk: range, reach: int, frames: int) -> range:
    """Widen a chunk by some frames on either side, inside the clip."""
    return range(max(0, chunk.start - reach), min(frames, chunk.stop + reach))
