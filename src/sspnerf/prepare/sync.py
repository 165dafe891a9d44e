"""How far the sound of a take is from the lips that made it.

Lips and loudness go together only loosely (a correlation of .2 to .5), and both drift with phrases
over seconds, which makes broad, false peaks. So both are cut down to what happens within 30 to
150 ms, syllables, where the peak is narrow; and it is compared with how well the two agree at
offsets that cannot be right.

Sign, everywhere: a positive offset means that the sound is late, heard after it is seen.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from sspnerf.media.speech import (
    LOG_MEL_RATE_HZ,
    SPEECH_SAMPLE_RATE_HZ,
    frame_times,
    log_mel,
)
from sspnerf.prepare.face_regions import CHIN, FOREHEAD

# Offsets looked at, s; a take further out of step is not one take.
LARGEST_OFFSET_S = 0.5
# Offsets that cannot be right, for comparison, s.
NEAREST_WRONG_S, FARTHEST_WRONG_S = 0.7, 3.0
# What is kept: slower than the first and faster than the second, standard deviations in s.
FASTEST_S, SLOWEST_S = 0.03, 0.15
# Loudness this far below the loudest tenth is silence, dB.
SILENCE_BELOW_DB = 20.0
# Larger swings count as this many standard deviations: a yawn or a knock is one event.
LARGEST_SWING = 2.5
# Below, there is too little to compare; seconds with a face.
LEAST_SECONDS = 4.0
# The peak must stand out by so many standard deviations of wrong offsets ...
LEAST_EVIDENCE = 3.5
# ... and any other peak, further away than this, must be so much lower.
PEAK_WIDTH_S, SECOND_PEAK = 0.15, 0.5
# Lips that open by less than this share of the face's height are shut.
LEAST_OPENING = 0.002
# Loudness around a moment is heard within so many seconds of it.
LISTEN_S = 0.08

# MediaPipe's inner lips, upper and lower, at three places around the middle.
_UPPER, _LOWER = (82, 13, 312), (87, 14, 317)

_LN_TO_DB = 10.0 / np.log(10.0)


class SyncEstimate(NamedTuple):
    """The sound's offset against the lips; positive: the sound is late."""

    offset_s: float
    """Where the two agree best, s; meaningless unless `is_known`."""
    offset_frames: float
    """The same in frames."""
    correlation: float
    """Pearson's r of the two there, [-1, 1]; .2 to .5 is usual."""
    second: float
    """The best correlation at any other offset, as a share of the best."""
    evidence: float
    """The correlation there in standard deviations of those at offsets that cannot be right."""
    is_known: bool
    """Whether the evidence is strong enough to believe the offset."""
    reason: str
    """Why it is not known, in words; empty if it is."""
    curve: NDArray[np.float64]
    """Offset, s, and correlation there; empty where nothing could be compared. Shape (lags, 2)."""


def lip_opening(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Measure how far the lips are apart.

    Args:
        landmarks: MediaPipe's, x and y in px first. Shape (frames, 478, 2 or more).

    Returns:
        Gap between the inner lips around their middle, share of the face's height, >= 0; NaN where
        landmarks are. Shape (frames,).
    """
    # Only these points are touched: landmarks may be a memory map of a long clip.
    points = np.asarray(landmarks[:, [*_UPPER, *_LOWER, FOREHEAD, CHIN], :2], dtype=np.float64)
    upper, lower = points[:, :3], points[:, 3:6]
    gaps = np.linalg.norm(upper - lower, axis=-1).mean(axis=1)
    height = np.linalg.norm(points[:, 6] - points[:, 7], axis=-1)
    return np.asarray(gaps / np.maximum(height, 1e-6))


def loudness_at(
    waveform: NDArray[np.floating], frame_index: NDArray[np.integer], frame_rate_hz: float
) -> NDArray[np.float64]:
    """Say how loud the sound is around frames.

    Args:
        waveform: Mono at 16 kHz in [-1, 1]. Shape (samples,).
        frame_index: Which frames. Shape (frames,).
        frame_rate_hz: Frames per second.

    Returns:
        Mean level within `LISTEN_S`, dB above silence; 0 beyond the sound. Shape (frames,).
    """
    level = _loudness(waveform)
    times = frame_times(np.asarray(frame_index), frame_rate_hz) * LOG_MEL_RATE_HZ
    reach = LISTEN_S * LOG_MEL_RATE_HZ
    heard = [level[max(0, round(t - reach)) : max(0, round(t + reach))] for t in times]
    return np.array([part.mean() if len(part) else 0.0 for part in heard])


def estimate_offset(
    opening: NDArray[np.floating],
    waveform: NDArray[np.floating],
    *,
    frame_rate_hz: float,
    valid: NDArray[np.bool_] | None = None,
) -> SyncEstimate:
    """Estimate how late the sound is.

    Args:
        opening: Of the lips, any unit (see `lip_opening`). Shape (frames,).
        waveform: Mono at 16 kHz in [-1, 1], starting with the first frame. Shape (samples,).
        frame_rate_hz: Frames per second.
        valid: Frames with a face. None: where the opening is finite. Shape (frames,).

    Returns:
        The offset within half a second, and whether to believe it.
    """
    lips_open = np.asarray(opening, dtype=np.float64)
    seen = np.isfinite(lips_open) if valid is None else np.isfinite(lips_open) & valid
    known_s = min(int(seen.sum()) / frame_rate_hz, len(waveform) / SPEECH_SAMPLE_RATE_HZ)
    if known_s < LEAST_SECONDS:
        return _unknown(f"only {known_s:.1f} s show a face and have sound")
    if float(np.ptp(np.percentile(lips_open[seen], (5, 95)))) < LEAST_OPENING:
        return _unknown("the lips do not move")
    loudness = _loudness(waveform)
    if float(loudness.std()) < 1.0:
        return _unknown("the sound is silent, or evenly loud")
    length = min(len(loudness), round(len(lips_open) / frame_rate_hz * LOG_MEL_RATE_HZ))
    lips, weight = _lips_at_sound_rate(lips_open, seen, frame_rate_hz, length)
    heard = _syllables(loudness[:length], np.ones(length))
    reach = round(LARGEST_OFFSET_S * LOG_MEL_RATE_HZ)
    correlation = np.array(
        [_correlation(lips, heard, weight, lag) for lag in range(-reach, reach + 1)]
    )
    return _judge(correlation, _wrong_spread(lips, heard, weight), reach, frame_rate_hz)


def shift_waveform(waveform: NDArray[np.float32], offset_s: float) -> NDArray[np.float32]:
    """Bring a sound into step; what is missing at either end is silence.

    Args:
        waveform: Mono at 16 kHz. Shape (samples,).
        offset_s: By how much it is late, s; negative: early.

    Returns:
        Sound of the same length. Shape (samples,).
    """
    late = round(offset_s * SPEECH_SAMPLE_RATE_HZ)
    shifted = np.zeros_like(waveform)
    kept = max(0, len(waveform) - abs(late))
    if late >= 0:
        shifted[:kept] = waveform[len(waveform) - kept :]
    else:
        shifted[len(waveform) - kept :] = waveform[:kept]
    return shifted


def _judge(
    correlation: NDArray[np.float64], spread: float, reach: int, frame_rate_hz: float
) -> SyncEstimate:
    """Find the peak, and say whether it stands out."""
    place = int(correlation.argmax())
    best = float(correlation[place])
    away = np.abs(np.arange(len(correlation)) - place) > PEAK_WIDTH_S * LOG_MEL_RATE_HZ
    second = float(correlation[away].max()) / best if best > 0 else 1.0
    evidence = best / max(spread, 1e-6)
    offset_s = (place - reach + _peak_shift(correlation, place)) / LOG_MEL_RATE_HZ
    reason = ""
    if evidence < LEAST_EVIDENCE or second > SECOND_PEAK:
        reason = "lips and sound agree too little at any offset"
    elif place in (0, len(correlation) - 1):
        reason = f"the offset may be larger than {LARGEST_OFFSET_S:g} s"
    return SyncEstimate(
        offset_s=offset_s,
        offset_frames=offset_s * frame_rate_hz,
        correlation=best,
        second=second,
        evidence=evidence,
        is_known=not reason,
        reason=reason,
        curve=np.stack((np.arange(-reach, reach + 1) / LOG_MEL_RATE_HZ, correlation), axis=1),
    )


def _unknown(reason: str) -> SyncEstimate:
    nothing = np.zeros((0, 2))
    return SyncEstimate(0.0, 0.0, 0.0, 1.0, 0.0, is_known=False, reason=reason, curve=nothing)


def _loudness(waveform: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the level over silence at 100 Hz, dB, >= 0. Shape (feature_frames,)."""
    level = np.asarray(_LN_TO_DB * log_mel(waveform).mean(axis=1, dtype=np.float64))
    if not len(level):
        return level
    return np.asarray(np.maximum(level - np.percentile(level, 95) + SILENCE_BELOW_DB, 0.0))


def _lips_at_sound_rate(
    opening: NDArray[np.float64], seen: NDArray[np.bool_], frame_rate_hz: float, length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bring the lips to 100 Hz: syllables, and how much each moment counts; both (length,)."""
    frames = np.arange(len(opening))
    moments = (np.arange(length) + 0.5) / LOG_MEL_RATE_HZ
    times = frame_times(frames, frame_rate_hz)
    # The root makes the first opening of shut lips, the clearest event, as large as any later one.
    root = np.sqrt(np.maximum(opening[seen], 0.0))
    lips = np.interp(moments, times[seen], root)
    nearest = np.minimum((moments * frame_rate_hz).astype(np.int64), len(opening) - 1)
    weight = seen[nearest].astype(np.float64)
    return _syllables(lips, weight), weight


def _syllables(curve: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep what happens at the speed of syllables; mean 0, spread 1, no swing too large."""
    fast = gaussian_filter1d(curve, FASTEST_S * LOG_MEL_RATE_HZ)
    kept = fast - gaussian_filter1d(curve, SLOWEST_S * LOG_MEL_RATE_HZ)
    counted = kept[weight > 0]
    kept = (kept - counted.mean()) / max(float(counted.std()), 1e-9)
    return np.asarray(np.clip(kept, -LARGEST_SWING, LARGEST_SWING))


def _correlation(
    lips: NDArray[np.float64], heard: NDArray[np.float64], weight: NDArray[np.float64], lag: int
) -> float:
    """Pearson's r (about means of 0) of the lips and of what is heard `lag` samples later."""
    if lag >= 0:
        seen, sound, counts = lips[: len(lips) - lag], heard[lag:], weight[: len(lips) - lag]
    else:
        seen, sound, counts = lips[-lag:], heard[:lag], weight[-lag:]
    size = np.sqrt((counts * seen**2).sum() * (counts * sound**2).sum())
    return float((counts * seen * sound).sum() / max(float(size), 1e-9))


def _wrong_spread(
    lips: NDArray[np.float64], heard: NDArray[np.float64], weight: NDArray[np.float64]
) -> float:
    """Return the standard deviation about 0 of correlations at offsets that cannot be right."""
    nearest = round(NEAREST_WRONG_S * LOG_MEL_RATE_HZ)
    farthest = min(round(FARTHEST_WRONG_S * LOG_MEL_RATE_HZ), len(lips) // 2)
    lags = range(nearest, farthest + 1, 4)
    wrong = [_correlation(lips, heard, weight, sign * lag) for lag in lags for sign in (-1, 1)]
    return float(np.sqrt(np.square(wrong).mean())) if wrong else 1.0


def _peak_shift(correlation: NDArray[np.float64], place: int) -> float:
    """Return where between samples the peak is: the top of a parabola, within 1 of `place`."""
    reach = min(3, place, len(correlation) - 1 - place)
    if reach == 0:
        return 0.0
    near = np.arange(-reach, reach + 1)
    bend, slope, _ = np.polyfit(near, correlation[place - reach : place + reach + 1], 2)
    return float(np.clip(-slope / (2 * bend), -1.0, 1.0)) if bend < 0 else 0.0
