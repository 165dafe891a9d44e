"""Turn a waveform into speech features, and features into one window per video frame.

Shared convention, used by everything below:

    waveform   mono float32 in [-1, 1] at 16 kHz, shape (samples,)
    feature j  describes the time [j, j + 1) / rate_hz; its centre is (j + 0.5) / rate_hz
    frame i    shows the time [i, i + 1) / frame_rate_hz; its centre is (i + 0.5) / frame_rate_hz

Nothing here looks at the recording as a whole, so a live stream and a file give the same features.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError, UsageError

SPEECH_SAMPLE_RATE_HZ = 16000
LOG_MEL_RATE_HZ = 100.0
LOG_MEL_DIM = 80

_HOP = 160
_WINDOW = 400
_FFT = 512
# Feature j is centred on sample 160 j + 80, so its window begins 120 samples before its hop.
_LEAD = (_WINDOW - _HOP) // 2
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 7600.0
_POWER_FLOOR = 1e-6
_FEATURES_PER_BLOCK = 2000
_SAMPLES_PER_BLOCK = 60 * SPEECH_SAMPLE_RATE_HZ

_SILENCE_DB = -120.0
_GATE_DB = 25.0
_LEVEL_FRAME = 320
_MOST_GAIN_DB = 30.0


def check_waveform(
    waveform: NDArray[np.floating], start: int = 0, *, sample_rate_hz: int = SPEECH_SAMPLE_RATE_HZ
) -> None:
    """Refuse what is not one finite number after the other.

    Args:
        waveform: Meant to be mono sound, shape (samples,).
        start: Samples before it, so that the message names the right time.
        sample_rate_hz: Samples per second.

    Raises:
        MediaError: If it is not one-dimensional, or a sample is not finite.
    """
    if waveform.ndim != 1:
        raise MediaError(
            f"a waveform of shape {waveform.shape} was given; expected mono, (samples,)",
            "Average the channels first.",
        )
    finite = np.isfinite(waveform)
    if not finite.all():
        time_s = (start + int(np.argmin(finite))) / sample_rate_hz
        raise MediaError(
            f"the waveform is not finite at {time_s:.3f} s; expected samples in [-1, 1]",
            "Export the recording again.",
        )


@functools.cache
def mel_filter_bank() -> NDArray[np.float64]:
    """Weigh the 257 bins of a 512-point spectrum into 80 bands of equal width in mel.

    Triangles, linear in hertz, of height 1, on 82 edges equally spaced in HTK's mel
    ``2595 log10(1 + f / 700)`` between 50 and 7600 Hz: band m rises from edge m to edge m + 1 and
    falls to edge m + 2.

    Returns:
        Weights in [0, 1], read-only. Shape (80, 257). Each band has a bin of weight above 0.
    """
    lowest, highest = (2595.0 * np.log10(1.0 + f / 700.0) for f in (_LOWEST_HZ, _HIGHEST_HZ))
    edges_hz = 700.0 * (10.0 ** (np.linspace(lowest, highest, LOG_MEL_DIM + 2) / 2595.0) - 1.0)
    bins_hz = np.arange(_FFT // 2 + 1) * SPEECH_SAMPLE_RATE_HZ / _FFT
    left, centre, right = (edges_hz[i : i + LOG_MEL_DIM, None] for i in range(3))
    rising = (bins_hz - left) / (centre - left)
    falling = (right - bins_hz) / (right - centre)
    bank: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    bank.flags.writeable = False
    return bank


class LogMelStream:
    """Log-mel features of sound that arrives in pieces, equal to ``log_mel`` of the whole.

    Feature j is given out once sample 160 j + 279 has arrived: 17.5 ms after its hop began.
    The sum of all pushes and the finish has ceil(samples / 160) features. Memory does not grow.

    Example:
        >>> stream = LogMelStream()
        >>> stream.push(np.zeros(439, np.float32)).shape, stream.push(np.zeros(1)).shape
        ((1, 80), (1, 80))
        >>> stream.finish().shape
        (1, 80)
    """

    def __init__(self) -> None:
        """Start before the first sample, with silence in front of it."""
        self._pending: NDArray[np.float32] = np.zeros(_LEAD, np.float32)
        self._received = 0
        self._given = 0
        self._is_finished = False

    def push(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """Take the next samples and give the features that became complete.

        Args:
            samples: The waveform's continuation in [-1, 1] at 16 kHz. Shape (samples,), any length.

        Returns:
            New features, natural logarithm. Shape (feature_frames, 80); may be empty.

        Raises:
            MediaError: If the samples are not one-dimensional, or one is not finite.
            UsageError: If the stream was finished before.
        """
        if self._is_finished:
            raise UsageError("this feature stream is finished", "Start a new LogMelStream.")
        check_waveform(samples, start=self._received)
        self._received += len(samples)
        self._pending = np.concatenate([self._pending, samples.astype(np.float32)])
        return self._take(max(0, (len(self._pending) - _WINDOW) // _HOP + 1))

    def finish(self) -> NDArray[np.float32]:
        """Give the last features, with silence behind the last sample; the stream ends.

        Returns:
            The features not given yet, natural logarithm. Shape (feature_frames, 80).
        """
        self._is_finished = True
        missing = -(-self._received // _HOP) - self._given
        behind = max(0, (missing - 1) * _HOP + _WINDOW - len(self._pending))
        self._pending = np.pad(self._pending, (0, behind))
        return self._take(missing)

    def _take(self, count: int) -> NDArray[np.float32]:
        """Give the next features and forget the samples that no later one needs."""
        features = np.empty((count, LOG_MEL_DIM), np.float32)
        for first in range(0, count, _FEATURES_PER_BLOCK):
            last = min(first + _FEATURES_PER_BLOCK, count)
            block = self._pending[first * _HOP : (last - 1) * _HOP + _WINDOW]
            features[first:last] = _log_mel_block(block)
        self._pending = self._pending[count * _HOP :]
        self._given += count
        return features


def log_mel(waveform: NDArray[np.floating]) -> NDArray[np.float32]:
    """Describe speech by the logarithm of its power in 80 mel bands, 100 times a second.

    Feature j is ``ln(power + 1e-6)`` of the 400 samples (25 ms, Hann) centred on the middle of
    [160 j, 160 (j + 1)), that is on sample 160 j + 80, zero-padded to a 512-point FFT; beyond the
    edges is silence. Not normalised by the recording, so it needs no future. The floor of 1e-6
    lies above the rounding noise of 16-bit sound.

    Args:
        waveform: Mono sound in [-1, 1] at 16 kHz. Shape (samples,).

    Returns:
        Features, natural logarithm, from -13.8 (silence) to about 10. Shape (feature_frames, 80)
        with feature_frames = ceil(samples / 160).

    Raises:
        MediaError: If the waveform is not one-dimensional, or a sample is not finite.
    """
    check_waveform(waveform)
    stream = LogMelStream()
    blocks = [
        stream.push(waveform[first : first + _SAMPLES_PER_BLOCK])
        for first in range(0, len(waveform), _SAMPLES_PER_BLOCK)
    ]
    return np.concatenate([*blocks, stream.finish()])


def frame_times(frame_index: NDArray[np.integer], frame_rate_hz: float) -> NDArray[np.float64]:
    """Give the middle of each video frame's interval.

    Args:
        frame_index: Frames. Shape (frames,).
        frame_rate_hz: Frames per second, > 0.

    Returns:
        Times in seconds from the start of the film. Shape (frames,).

    Example:
        >>> frame_times(np.arange(3), 25.0)
        array([0.02, 0.06, 0.1 ])
    """
    return (frame_index.astype(np.float64) + 0.5) / frame_rate_hz


def speech_windows(
    features: NDArray[np.floating],
    *,
    rate_hz: float,
    frame_times_s: NDArray[np.floating],
    window: int,
) -> NDArray[np.float32]:
    """Cut the features around each time, whose middle is nearest to it; repeat those at the edges.

    Args:
        features: Speech features. Shape (feature_frames, feature_dim), at least one.
        rate_hz: Features per second, > 0.
        frame_times_s: Where to look, see ``frame_times``. Shape (frames,). Seconds.
        window: Features per window, >= 1.

    Returns:
        Features around each time. Shape (frames, window, feature_dim).

    Raises:
        MediaError: If there is no feature; UsageError: if window or rate is not positive.

    Example:
        >>> ramp, times_s = np.arange(8.0)[:, None], frame_times(np.arange(2), 25.0)
        >>> speech_windows(ramp, rate_hz=100.0, frame_times_s=times_s, window=4)[..., 0]
        array([[0., 1., 2., 3.],
               [4., 5., 6., 7.]], dtype=float32)
    """
    if features.ndim != 2 or len(features) == 0:
        raise MediaError(
            f"speech features have shape {features.shape}; expected (feature_frames, feature_dim) "
            "with at least one feature",
            "Give a recording that holds sound.",
        )
    if window < 1 or not rate_hz > 0:
        raise UsageError(f"window {window} at {rate_hz} Hz is not possible; expected >= 1 and > 0")
    # The millionth keeps exact halves on one side: no jitter where frames divide the rate.
    first = np.floor(np.asarray(frame_times_s) * rate_hz - window / 2 + 0.5 + 1e-6).astype(np.int64)
    index = np.clip(first[:, None] + np.arange(window), 0, len(features) - 1)
    windows: NDArray[np.float32] = np.asarray(features, np.float32)[index]
    return windows


def active_level_db(waveform: NDArray[np.floating]) -> float:
    """Measure how loud somebody speaks, pauses left out.

    The mean power of those 20 ms frames that are at most 25 dB below the 95th percentile of all
    frames that are not digital silence.

    Args:
        waveform: Mono sound in [-1, 1] at 16 kHz. Shape (samples,). Samples that fill no whole
            frame at the end do not count, unless there is no whole frame at all.

    Returns:
        Level in dBFS (a full square wave is 0, a full sine -3.01), at least -120: silence.

    Raises:
        MediaError: If the waveform is not one-dimensional, or a sample is not finite.
    """
    check_waveform(waveform)
    if len(waveform) == 0:
        return _SILENCE_DB
    length = min(_LEVEL_FRAME, len(waveform))
    frames = waveform[: len(waveform) // length * length].reshape(-1, length)
    # einsum adds up in float64 without a float64 copy of a long recording.
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / length
    power = power[power > 10.0 ** (_SILENCE_DB / 10)]
    if len(power) == 0:
        return _SILENCE_DB
    gate = np.percentile(power, 95) * 10.0 ** (-_GATE_DB / 10)
    return float(10.0 * np.log10(np.mean(power[power >= gate])))


def match_level(waveform: NDArray[np.floating], level_db: float) -> NDArray[np.float32]:
    """Bring speech to a level, so that a quiet recording drives a portrait like a loud one.

    Args:
        waveform: Mono sound in [-1, 1] at 16 kHz. Shape (samples,).
        level_db: Wanted active level in dBFS, see ``active_level_db``.

    Returns:
        The waveform times one gain of -30 to +30 dB; silence as it was. Shape (samples,). Peaks
        may pass 1: they are kept, because clipping would change the features.

    Raises:
        MediaError: If the waveform is not one-dimensional, or a sample is not finite.
    """
    active_db = active_level_db(waveform)
    if active_db <= _SILENCE_DB:
        return waveform.astype(np.float32)
    gain_db = min(max(level_db - active_db, -_MOST_GAIN_DB), _MOST_GAIN_DB)
    matched: NDArray[np.float32] = (waveform * 10.0 ** (gain_db / 20.0)).astype(np.float32)
    return matched


@functools.cache
def _hann() -> NDArray[np.float64]:
    """Symmetric about the middle of its 400 samples, which are taken at their own middles."""
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(
        2.0 * np.pi * (np.arange(_WINDOW) + 0.5) / _WINDOW
    )
    return window


@functools.cache
def _band_bins() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Name the bins of all bands one after the other, their weights, and where each band starts."""
    bank = mel_filter_bank()
    band, bins = np.nonzero(bank)
    return bins, bank[band, bins], np.searchsorted(band, np.arange(LOG_MEL_DIM))


def _log_mel_block(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Transform samples that hold a whole number of windows, each alone and to the last bit."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    spectrum = np.fft.rfft(windows * _hann(), _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    bins, weights, starts = _band_bins()
    # Not a matrix product: that rounds differently for other numbers of rows, and a stream in
    # pieces would no longer equal the whole.
    bands = np.add.reduceat(power[:, bins] * weights, starts, axis=1)
    features: NDArray[np.float64] = np.log(bands + _POWER_FLOOR)
    return features
