"""Features of a network that hears seconds at once, the same for a live stream and a file.

A network with attention answers differently when it hears more. So a recording is cut at fixed
places, whatever the pieces it arrives in:

    kept      features of one block; block b is features [b kept, (b + 1) kept)
    context   features before and behind a block that are heard too, then dropped
    hop       samples from one feature to the next; feature j is of samples [j hop, (j + 1) hop)

Where the recording begins or ends, so does what is heard: no silence is made up, but for what the
last feature's hop lacks. Whatever the network normalises by is taken from the samples of one block.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import UsageError
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ, check_waveform


@runtime_checkable
class FeatureStream(Protocol):
    """Turns sound that arrives in pieces into features; equal to the features of the whole."""

    def push(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """Take the next samples and give the features that became complete."""

    def finish(self) -> NDArray[np.float32]:
        """Give the last features; the stream ends."""


class Blocks(NamedTuple):
    """How a recording is cut; see the module."""

    hop: int
    """Samples from one feature to the next, > 0."""
    kept: int
    """Features of one block, > 0."""
    context: int
    """Features heard before and behind a block, >= 0."""

    @property
    def latency_s(self) -> float:
        """Longest time from the start of a feature's hop until it is given out, seconds."""
        return (self.kept + self.context) * self.hop / SPEECH_SAMPLE_RATE_HZ


class BlockStream:
    """Features of sound that arrives in pieces, computed block by block.

    Block b is given out once sample ``((b + 1) kept + context) hop`` has arrived, or at the end.
    All pushes and the finish together have ceil(samples / hop) features. Memory does not grow:
    at most one block and its context is remembered.

    Example:
        >>> def loudest(samples):
        ...     return np.abs(samples).reshape(-1, 2).max(axis=1, keepdims=True)
        >>> stream = BlockStream(loudest, dim=1, blocks=Blocks(hop=2, kept=2, context=1))
        >>> stream.push(np.array([0.1, 0.2, 0.3, 0.0, 0.0])).shape
        (0, 1)
        >>> stream.push(np.array([0.5]))[:, 0]
        array([0.2, 0.3], dtype=float32)
        >>> stream.finish()[:, 0]
        array([0.5], dtype=float32)
    """

    def __init__(
        self,
        hear: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        *,
        dim: int,
        blocks: Blocks,
    ) -> None:
        """Start before the first sample.

        Args:
            hear: Samples (count * hop,) -> features (count, dim), for any count up to
                kept + 2 context.
            dim: Width of the features.
            blocks: Where the recording is cut.
        """
        self._hear, self._dim, self._blocks = hear, dim, blocks
        self._pending: NDArray[np.float32] = np.zeros(0, np.float32)
        # Feature at which the remembered samples begin.
        self._first = 0
        self._received = 0
        self._block = 0
        self._is_finished = False

    def push(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """Take the next samples and give the features that became complete.

        Args:
            samples: The waveform's continuation in [-1, 1] at 16 kHz. Shape (samples,), any length.

        Returns:
            New features. Shape (feature_frames, dim); may be empty.

        Raises:
            MediaError: If the samples are not one-dimensional, or one is not finite.
            UsageError: If the stream was finished before.
        """
        if self._is_finished:
            raise UsageError("this feature stream is finished", "Start a new one.")
        check_waveform(samples, start=self._received)
        self._received += len(samples)
        self._pending = np.concatenate([self._pending, samples.astype(np.float32)])
        hop, kept, context = self._blocks
        whole = max(0, self._received // hop - context) // kept
        return self._take(whole, last_feature=self._received // hop)

    def finish(self) -> NDArray[np.float32]:
        """Give the last features, with silence behind the last sample up to its hop's end.

        Returns:
            The features not given yet. Shape (feature_frames, dim).
        """
        self._is_finished = True
        hop, kept, _ = self._blocks
        total = -(-self._received // hop)
        self._pending = np.pad(self._pending, (0, total * hop - self._received))
        return self._take(-(-total // kept), last_feature=total)

    def _take(self, until: int, *, last_feature: int) -> NDArray[np.float32]:
        """Compute the blocks before `until`, and forget the samples that no later one needs."""
        hop, kept, context = self._blocks
        parts = [np.zeros((0, self._dim), np.float32)]
        for block in range(self._block, until):
            first, end = block * kept, min((block + 1) * kept, last_feature)
            heard_from, heard_to = max(0, first - context), min(end + context, last_feature)
            samples = self._pending[
                (heard_from - self._first) * hop : (heard_to - self._first) * hop
            ]
            parts.append(self._hear(samples)[first - heard_from : end - heard_from])
        self._block = max(self._block, until)
        needed = max(0, self._block * kept - context)
        self._pending = self._pending[(needed - self._first) * hop :].copy()
        self._first = needed
        return np.concatenate(parts).astype(np.float32, copy=False)


def hear_whole(
    stream: FeatureStream,
    waveform: NDArray[np.floating],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Give a whole recording to a stream, ten seconds at a time.

    Args:
        stream: A new stream.
        waveform: Mono sound in [-1, 1] at 16 kHz. Shape (samples,).
        progress: Called with samples done and samples in all.

    Returns:
        All features. Shape (feature_frames, feature_dim).

    Raises:
        MediaError: If the waveform is not one-dimensional, or a sample is not finite.
    """
    check_waveform(waveform)
    size, parts = 10 * SPEECH_SAMPLE_RATE_HZ, []
    for start in range(0, len(waveform), size):
        parts.append(stream.push(waveform[start : start + size]))
        if progress is not None:
            progress(min(start + size, len(waveform)), len(waveform))
    return np.concatenate([*parts, stream.finish()])
