"""Pixels of whole pictures; see `ops.pixel_groups`."""

from typing import no_type_check

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sspnerf.ops.numba_kernels.types import Bytes, Indices

# Group of a pixel that is left out.
NONE = np.uint8(255)
# Lines are looked through so many pixels at a time.
WORD = 8


@njit(inline="always")
@no_type_check
def _largest(first: Bytes, second: Bytes, out: Bytes) -> None:
    """Take the larger of two; out of place, or compilers see no vector instructions."""
    for place in range(out.shape[0]):
        out[place] = first[place] if first[place] > second[place] else second[place]


@njit(inline="always")
@no_type_check
def _differ(first: Bytes, second: Bytes, out: Bytes) -> None:
    """Write 1 where two differ and 0 elsewhere."""
    for place in range(out.shape[0]):
        out[place] = np.uint8(first[place] != second[place])


@njit(inline="always")
@no_type_check
def _largest_around(mask: Bytes, row: int, radius: int, line: Bytes, spare: Bytes) -> Bytes:
    """Return the largest of the square around each pixel of a row, in one of the scratch lines.

    mask: (height, width); line, spare: width + 2 radius.
    """
    height, width = mask.shape
    for place in range(line.shape[0]):
        line[place] = 0
    middle = line[radius : radius + width]
    for near in range(max(0, row - radius), min(height, row + radius + 1)):
        for place in range(width):
            value = mask[near, place]
            middle[place] = value if value > middle[place] else middle[place]
    # Each place looks ahead over 2, 4, 8 ... places; in the end over 2 radius + 1.
    span, reach = 1, 2 * radius + 1
    while span < reach:
        step = min(span, reach - span)
        ahead = line.shape[0] - step
        _largest(line[:ahead], line[step:], spare[:ahead])
        line, spare = spare, line
        span += step
    return line


@njit(inline="always")
@no_type_check
def _keep_near(groups: Bytes, labels: Bytes, near: Bytes, threshold: int, out: Bytes) -> None:
    """Copy a row's groups but for label 0 where nothing near is above the threshold."""
    limit = np.uint8(threshold)
    for place in range(out.shape[0]):
        group = groups[place]
        out[place] = NONE if labels[place] == 0 and near[place] <= limit else group


@njit(inline="always")
@no_type_check
def _copy(values: Bytes, out: Bytes) -> None:
    """Assigning whole slices is several times slower."""
    for place in range(out.shape[0]):
        out[place] = values[place]


@njit(inline="always")
@no_type_check
def _find_runs(
    line: Bytes, begins: Bytes, words: NDArray[np.uint64], width: int, pixel: int, runs: int,
    found: NDArray[np.int32],
) -> int:  # fmt: skip
    """Add a row's runs to those found: first pixel and group. Return how many there are now.

    line, begins: whole words; begins is scratch, zero beyond the width, and words the same bytes.
    pixel: of the row's start.
    """
    begins[0] = width > 0
    _differ(line[: width - 1], line[1:width], begins[1:width])
    for word in range(words.shape[0]):
        # Most words hold no begin.
        if words[word]:
            for place in range(WORD * word, WORD * word + WORD):
                # Overwritten unless it is one: cheaper than to branch.
                found[0, runs] = pixel + place
                found[1, runs] = line[place]
                runs += np.int64(begins[place])
    return runs


@njit(inline="always")
@no_type_check
def _sort_runs(
    found: NDArray[np.int32], runs: int, pixels: int, first: NDArray[np.int32],
    rank: NDArray[np.int32], starts: Indices,
) -> int:  # fmt: skip
    """Sort runs by group, keeping their order; counting sort. Arguments as of `group_pixels`."""
    count = starts.shape[1] - 1
    starts[:] = 0
    # Ranks at which groups start, and runs before them; then both run on from there.
    found[0, runs] = pixels
    for run in range(runs):
        group = found[1, run]
        if group != NONE:
            starts[0, group + 1] += found[0, run + 1] - found[0, run]
            starts[1, group + 1] += 1
    for group in range(count):
        starts[0, group + 1] += starts[0, group]
        starts[1, group + 1] += starts[1, group]
    kept = starts[1, count]
    starts[2] = starts[0]
    for run in range(runs):
        group = found[1, run]
        if group != NONE:
            place = starts[1, group]
            first[place] = found[0, run]
            rank[place] = starts[2, group]
            starts[1, group] += 1
            starts[2, group] += found[0, run + 1] - found[0, run]
    return kept


@njit(cache=True, nogil=True)
@no_type_check
def group_pixels(
    groups: Bytes,
    labels: Bytes,
    mask: Bytes,
    threshold: int,
    radius: int,
    lines: Bytes,
    found: NDArray[np.int32],
    first: NDArray[np.int32],
    rank: NDArray[np.int32],
    starts: Indices,
) -> int:
    """List the runs of each group, and return how many there are.

    groups, labels, mask: (height, width); an empty mask leaves out nothing. lines: (4, at least
    width + 2 radius, whole words) scratch. found: (2, pixels + 1) scratch. first, rank: (pixels,).
    starts: (3, groups + 1), of which the last two rows are scratch.
    """
    height, width = groups.shape
    lines[3] = 0
    line, words = lines[0, :width], lines[3].view(np.uint64)
    reach = width + 2 * radius
    runs = 0
    for row in range(height):
        if mask.shape[0]:
            near = _largest_around(mask, row, radius, lines[1, :reach], lines[2, :reach])
            _keep_near(groups[row], labels[row], near, threshold, line)
        else:
            _copy(groups[row], line)
        runs = _find_runs(lines[0], lines[3], words, width, row * width, runs, found)
    return _sort_runs(found, runs, height * width, first, rank, starts)
