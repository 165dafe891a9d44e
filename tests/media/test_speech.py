"""Speech features against a transform in plain loops, hand arithmetic, and streams in pieces."""

import cmath
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.speech import (
    LOG_MEL_DIM,
    LOG_MEL_RATE_HZ,
    SPEECH_SAMPLE_RATE_HZ,
    LogMelStream,
    _log_mel_block,
    active_level_db,
    frame_times,
    log_mel,
    match_level,
    mel_filter_bank,
    speech_windows,
)

SILENT = math.log(1e-6)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def noise(generator, samples):
    return generator.uniform(-0.5, 0.5, samples).astype(np.float32)


def sine(frequency_hz, duration_s=1.0, amplitude=1.0):
    time_s = np.arange(round(duration_s * SPEECH_SAMPLE_RATE_HZ)) / SPEECH_SAMPLE_RATE_HZ
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def oracle_mel(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def oracle_weight(band, frequency_hz):
    """One triangle of the bank at one frequency, from its three corners."""
    width = (oracle_mel(7600) - oracle_mel(50)) / 81
    corner = [700 * (10 ** ((oracle_mel(50) + (band + k) * width) / 2595) - 1) for k in range(3)]
    if corner[0] < frequency_hz <= corner[1]:
        return (frequency_hz - corner[0]) / (corner[1] - corner[0])
    if corner[1] < frequency_hz < corner[2]:
        return (corner[2] - frequency_hz) / (corner[2] - corner[1])
    return 0.0


def oracle_feature(waveform, j, band):
    """The definition, one sample and one bin at a time."""
    power = 0.0
    for k in range(257):
        weight = oracle_weight(band, k * 31.25)
        if weight == 0.0:
            continue
        total = 0j
        for n in range(400):
            at = 160 * j - 120 + n
            if 0 <= at < len(waveform):
                hann = math.sin(math.pi * (n + 0.5) / 400) ** 2
                total += float(waveform[at]) * hann * cmath.exp(-2j * math.pi * k * n / 512)
        power += weight * abs(total) ** 2
    return math.log(power + 1e-6)


def test_the_bank_is_the_one_of_its_definition():
    expected = [[oracle_weight(m, k * 31.25) for k in range(257)] for m in range(80)]
    np.testing.assert_allclose(mel_filter_bank(), expected, atol=1e-9)


def test_no_band_is_deaf():
    assert mel_filter_bank().max(axis=1).min() > 0.0


def test_the_bank_cannot_be_changed_by_its_users():
    with pytest.raises(ValueError, match="read-only"):
        mel_filter_bank()[0, 0] = 1.0


@pytest.mark.parametrize(("j", "band"), [(0, 3), (1, 40), (2, 79), (4, 11)])
def test_features_match_the_oracle(generator, j, band):
    waveform = noise(generator, 700)
    assert log_mel(waveform)[j, band] == pytest.approx(oracle_feature(waveform, j, band), rel=1e-5)


def test_440_hz_lands_in_band_13():
    # mel(440) = 549.6; bands are (2786.9 - 77.8) / 81 = 33.4 mel apart and band m peaks at
    # 77.8 + (m + 1) * 33.4, so 440 Hz is at m = 13.1.
    features = log_mel(sine(440.0))
    assert set(features[2:-2].argmax(axis=1)) == {13}


def test_a_full_sine_at_the_middle_of_a_bin_has_the_power_of_its_window():
    # 1000 Hz is bin 32. The Hann window sums to 200, so the bin holds (200 / 2) ** 2 = 1e4; its
    # neighbours, 31.25 / 40 of a window's own bin away, hold (sinc(d) / (1 - d ** 2)) ** 2 of that.
    # mel(1000) = 1000 lies between the peaks of bands 26 and 27.
    features = log_mel(sine(1000.0))
    delta = 31.25 / 40.0
    side = math.sin(math.pi * delta) / (math.pi * delta * (1 - delta**2))
    far = math.sin(math.pi * 2 * delta) / (math.pi * 2 * delta * (1 - 4 * delta**2))
    for band in (26, 27):
        around = {0: 1.0, 1: side, -1: side, 2: far, -2: far}
        power = sum(oracle_weight(band, 1000 + 31.25 * k) * 1e4 * v**2 for k, v in around.items())
        np.testing.assert_allclose(features[50, band], math.log(power), atol=0.01)


def test_a_click_is_loudest_in_the_feature_whose_interval_holds_it():
    # In the middle of hop 5, and first and last sample of hop 12.
    for at, j in ((5 * 160 + 80, 5), (12 * 160, 12), (12 * 160 + 159, 12)):
        waveform = np.zeros(4000, np.float32)
        waveform[at] = 1.0
        assert log_mel(waveform).sum(axis=1).argmax() == j


def test_features_are_symmetric_in_time(generator):
    waveform = noise(generator, 160 * 9)
    np.testing.assert_allclose(log_mel(waveform[::-1])[::-1], log_mel(waveform), atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "count"), [(0, 0), (1, 1), (160, 1), (161, 2), (16000, 100), (16001, 101)]
)
def test_there_is_a_feature_for_each_hundredth_begun(samples, count):
    features = log_mel(np.zeros(samples, np.float32))
    np.testing.assert_array_equal(features, np.full((count, LOG_MEL_DIM), SILENT, np.float32))
    assert features.dtype == np.float32


def test_rounding_noise_of_16_bit_sound_is_below_the_floor(generator):
    hiss = (generator.uniform(-0.5, 0.5, 16000) / 32768).astype(np.float32)
    assert log_mel(hiss).max() < SILENT + 0.5


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 900), max_size=8))
def test_sound_in_pieces_gives_the_same_features_as_the_whole(pieces):
    waveform = noise(np.random.default_rng(3), sum(pieces))
    stream, parts, first = LogMelStream(), [], 0
    for piece in pieces:
        parts.append(stream.push(waveform[first : first + piece]))
        first += piece
    streamed = np.concatenate([*parts, stream.finish()])
    np.testing.assert_array_equal(streamed, log_mel(waveform))


def test_a_feature_does_not_depend_on_its_company(generator):
    # In float64, where a difference in rounding is not hidden by the last step to float32.
    waveform = noise(generator, 400 + 160 * 60)
    alone = [_log_mel_block(waveform[160 * j : 160 * j + 400])[0] for j in range(61)]
    np.testing.assert_array_equal(_log_mel_block(waveform), alone)


def test_a_long_recording_in_blocks_equals_one_pushed_sample_by_hop(generator):
    waveform = noise(generator, 63 * 16000)  # more than a block of 60 s, more than 2000 features
    stream = LogMelStream()
    parts = [stream.push(waveform[i : i + 16000]) for i in range(0, len(waveform), 16000)]
    streamed = np.concatenate([*parts, stream.finish()])
    np.testing.assert_array_equal(streamed, log_mel(waveform))


def test_a_feature_comes_once_its_window_is_complete():
    stream = LogMelStream()
    assert len(stream.push(np.zeros(279, np.float32))) == 0
    assert len(stream.push(np.zeros(1, np.float32))) == 1
    assert len(stream.push(np.zeros(160, np.float32))) == 1


def test_a_frame_is_looked_at_in_its_middle():
    np.testing.assert_allclose(frame_times(np.arange(3), 25.0), [0.02, 0.06, 0.10])


def test_a_window_is_centred_on_its_time():
    # Feature j covers [j, j + 1) / 100. Around 0.5 s an even window has as many on either side.
    features = np.arange(100.0)[:, None]
    even = speech_windows(features, rate_hz=100.0, frame_times_s=np.array([0.5]), window=4)
    np.testing.assert_array_equal(even[0, :, 0], [48, 49, 50, 51])
    odd = speech_windows(features, rate_hz=100.0, frame_times_s=np.array([0.505]), window=3)
    np.testing.assert_array_equal(odd[0, :, 0], [49, 50, 51])
    assert odd.dtype == np.float32
    for time_s, first in ((0.494, 47), (0.496, 48), (0.504, 48), (0.506, 49)):
        near = speech_windows(features, rate_hz=100.0, frame_times_s=np.array([time_s]), window=4)
        assert near[0, 0, 0] == first


@pytest.mark.parametrize("window", [1, 8, 15, 16])
@pytest.mark.parametrize("rate_hz", [50.0, 100.0])
def test_windows_advance_evenly(window, rate_hz):
    features = np.arange(10.0 * rate_hz)[:, None]
    times = frame_times(np.arange(240), 25.0)[10:-10]
    windows = speech_windows(features, rate_hz=rate_hz, frame_times_s=times, window=window)
    assert set(np.diff(windows[:, 0, 0])) == {rate_hz / 25.0}


def test_the_edges_are_repeated(generator):
    features = generator.normal(size=(5, 2)).astype(np.float32)
    windows = speech_windows(
        features, rate_hz=100.0, frame_times_s=np.array([-1.0, 0.0, 9.0]), window=4
    )
    np.testing.assert_array_equal(windows[0], features[[0, 0, 0, 0]])
    np.testing.assert_array_equal(windows[1], features[[0, 0, 0, 1]])
    np.testing.assert_array_equal(windows[2], features[[4, 4, 4, 4]])


def test_sound_and_window_meet_at_the_same_moment():
    # A click at 0.62 s, in the middle of frame 15 of 25 a second.
    waveform = np.zeros(16000, np.float32)
    waveform[round(0.62 * 16000) - 80] = 1.0
    windows = speech_windows(
        log_mel(waveform),
        rate_hz=LOG_MEL_RATE_HZ,
        frame_times_s=frame_times(np.arange(25), 25.0),
        window=4,
    )
    loudness = windows.sum(axis=-1)
    assert np.unravel_index(loudness.argmax(), loudness.shape) == (15, 1)


def test_the_level_of_a_full_sine_is_minus_3_db():
    assert active_level_db(sine(440.0)) == pytest.approx(-3.0103, abs=0.01)


def test_pauses_do_not_lower_the_level():
    speech = sine(200.0, amplitude=0.1)
    pause = sine(300.0, 2.0, amplitude=0.001)
    assert active_level_db(np.concatenate([speech, pause])) == pytest.approx(-23.01, abs=0.02)
    digital = np.zeros(40 * 16000, np.float32)
    assert active_level_db(np.concatenate([speech, digital])) == pytest.approx(-23.01, abs=0.02)


@pytest.mark.parametrize("samples", [0, 1, 319, 16000])
def test_silence_is_minus_120_db(samples):
    assert active_level_db(np.zeros(samples, np.float32)) == -120.0


def test_sound_shorter_than_a_frame_has_a_level():
    assert active_level_db(np.full(7, 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-4)


@pytest.mark.parametrize(("before", "wanted", "after"), [(0.1, -30, -30), (1e-4, -20, -53.01)])
def test_the_level_is_matched_within_30_db(before, wanted, after):
    matched = match_level(sine(250.0, amplitude=before), wanted)
    assert active_level_db(matched) == pytest.approx(after, abs=0.01)
    assert matched.dtype == np.float32


def test_loud_sound_is_lowered_by_30_db_at_most():
    assert active_level_db(match_level(sine(250.0), -90.0)) == pytest.approx(-33.01, abs=0.01)


def test_silence_is_left_alone():
    silence = np.zeros(500, np.float32)
    np.testing.assert_array_equal(match_level(silence, -20.0), silence)


@pytest.mark.refuses
@pytest.mark.parametrize("function", [log_mel, active_level_db, lambda x: match_level(x, -20.0)])
def test_refuses_what_is_not_a_finite_mono_waveform(function):
    waveform = np.zeros(16000, np.float32)
    waveform[8000] = np.nan
    with pytest.raises(MediaError, match=r"not finite at 0\.500 s; expected samples in \[-1, 1\]"):
        function(waveform)
    with pytest.raises(MediaError, match=r"shape \(2, 8\).*expected mono"):
        function(np.zeros((2, 8), np.float32))


@pytest.mark.refuses
def test_a_stream_names_the_time_since_its_start():
    stream = LogMelStream()
    stream.push(np.zeros(16000, np.float32))
    with pytest.raises(MediaError, match=r"not finite at 1\.000 s"):
        stream.push(np.array([np.inf], np.float32))


@pytest.mark.refuses
def test_refuses_more_sound_after_the_end():
    stream = LogMelStream()
    stream.finish()
    with pytest.raises(UsageError, match="finished"):
        stream.push(np.zeros(1, np.float32))


@pytest.mark.refuses
def test_refuses_windows_of_nothing():
    times = frame_times(np.arange(2), 25.0)
    with pytest.raises(MediaError, match=r"shape \(0, 80\); expected .* at least one"):
        speech_windows(np.zeros((0, 80)), rate_hz=100.0, frame_times_s=times, window=4)
    with pytest.raises(UsageError, match=r"window 0 at 100\.0 Hz"):
        speech_windows(np.zeros((3, 80)), rate_hz=100.0, frame_times_s=times, window=0)
