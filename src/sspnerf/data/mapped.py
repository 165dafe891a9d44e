"""Memory maps that are read for hours: which of their pages stay in memory."""

import mmap
from typing import Any

from numpy.typing import NDArray


def release_pages(array: NDArray[Any]) -> bool:
    """Give the pages of a memory map back to the system, which reads them again when asked.

    The array stays as it is. Pages that were read count as the process's memory, although the
    system may take them back when it wants: this does it now.

    Returns:
        Whether the array is a memory map, and the system knows how.
    """
    holder: Any = array
    while holder is not None and not isinstance(holder, mmap.mmap):
        holder = getattr(holder, "base", None)
    if holder is None or not hasattr(mmap, "MADV_DONTNEED"):
        return False
    holder.madvise(mmap.MADV_DONTNEED)
    return True
