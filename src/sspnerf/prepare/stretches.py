"""When something is so: stretches of frames, and how they are said in words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Stretches this near to each other are one, s; shorter ones are none.
JOINED_S, LEAST_S = 0.5, 0.12
# A sentence names so many stretches.
NAMED = 3


def find_stretches(
    where: NDArray[np.bool_],
    rate_hz: float,
    *,
    least_s: float = LEAST_S,
    join_s: float = JOINED_S,
) -> tuple[range, ...]:
    """Find where something lasts.

    Args:
        where: Shape (frames,).
        rate_hz: Frames per second.
        least_s: Shorter stretches are left out, s; after they were joined.
        join_s: Gaps up to this are closed, s.

    Example:
        >>> find_stretches(np.array([0, 1, 1, 0, 1, 0, 0, 0, 1], bool), 1.0, least_s=2, join_s=1)
        (range(1, 5),)
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], where, [False])).astype(np.int8)))
    joined: list[range] = []
    for first, stop in edges.reshape(-1, 2).tolist():
        if joined and first - joined[-1].stop <= join_s * rate_hz:
            joined[-1] = range(joined[-1].start, stop)
        else:
            joined.append(range(first, stop))
    return tuple(part for part in joined if len(part) >= max(1.0, least_s * rate_hz))


def moment(seconds: float) -> str:
    """Say a time as a player shows it.

    Example:
        >>> moment(12.42), moment(131.0)
        ('12.4 s', '2:11.0')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, tenths = divmod(round(seconds * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


def when_said(stretches: Sequence[range], frames: int, rate_hz: float) -> str:
    """Say when something is so.

    Args:
        stretches: At least one, in order.
        frames: Length of the clip.
        rate_hz: Frames per second.

    Example:
        >>> when_said([range(80, 100), range(200, 202)], 500, 25.0)
        'from 3.2 s to 4.0 s and at 8.0 s'
    """
    if sum(map(len, stretches)) >= 0.95 * frames:
        return "all the time"
    told = [_one_said(part, frames, rate_hz) for part in stretches[:NAMED]]
    if len(stretches) > NAMED:
        more = len(stretches) - NAMED
        return ", ".join(told) + f" and {more} more time{'s' * (more > 1)}"
    return ", ".join(told[:-1]) + " and " * (len(told) > 1) + told[-1]


def _one_said(part: range, frames: int, rate_hz: float) -> str:
    first, last = moment(part.start / rate_hz), moment(part.stop / rate_hz)
    if part.stop >= frames:
        return f"from {first} on"
    if len(part) < 0.3 * rate_hz:
        return f"at {first}"
    return f"from {first} to {last}"
