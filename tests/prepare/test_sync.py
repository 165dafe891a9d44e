"""The sound's offset: known where it was put in, and not claimed where nothing tells."""

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from sspnerf.media.audio import read_waveform
from sspnerf.media.video import probe_video, read_frames
from sspnerf.perception.landmarks import FaceLandmarker
from sspnerf.prepare.sync import estimate_offset, lip_opening, loudness_at, shift_waveform

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLIPS = Path(os.environ.get("SSPNERF_CLIPS", SHARED / "clips"))
MODELS = Path(os.environ.get("SSPNERF_MODELS", SHARED / "models"))
has_clips_and_models = pytest.mark.skipif(
    not ((CLIPS / "de_20s.mp4").is_file() and (MODELS / "face_landmarker.task").is_file()),
    reason=f"no real clips in {CLIPS} or no model files in {MODELS}",
)
SAMPLE_RATE = 16000


def speaker(seconds=20.0, *, rate_hz=25.0, late_s=0.0, together=0.7, seed=0):
    """Lips and a sound whose syllables share a part of their ups and downs.

    The lips open and shut 4 times a second or so; the sound is noise as loud as they are wide,
    times what has nothing to do with them.
    """
    random = np.random.default_rng(seed)
    time = np.arange(-0.6, seconds + 0.6, 1 / SAMPLE_RATE)
    common, of_lips, of_sound = (
        np.interp(time, *_syllables(random, time[0], time[-1])) for _ in range(3)
    )
    lips = np.exp(together * common + (1 - together) * of_lips)
    sound = 0.02 * np.exp(2 * (together * common + (1 - together) * of_sound))
    sound *= random.normal(0, 1, len(time))
    frames = (np.arange(round(seconds * rate_hz)) + 0.5) / rate_hz
    samples = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    opening = 0.02 * np.interp(frames, time, lips)
    return opening, np.interp(samples - late_s, time, sound).astype(np.float32)


def _syllables(random, first, last):
    moments = np.arange(first, last, 0.01)
    curve = gaussian_filter1d(random.normal(0, 1, len(moments)), 5)
    return moments, curve / curve.std()


@pytest.mark.parametrize("frames", [-8, -3, 0, 1, 8])
@pytest.mark.parametrize("rate_hz", [23.976, 25.0, 59.94])
def test_a_known_offset_is_found(frames, rate_hz):
    opening, waveform = speaker(rate_hz=rate_hz, late_s=frames / rate_hz)
    found = estimate_offset(opening, waveform, frame_rate_hz=rate_hz)
    assert found.is_known
    assert found.reason == ""
    # Positive: the sound is late.
    assert found.offset_frames == pytest.approx(frames, abs=0.5)
    assert found.offset_s == pytest.approx(frames / rate_hz, abs=0.02)


def test_sound_in_step_with_the_synthetic_speaker_is_found_in_step(tmp_path):
    pytest.importorskip("espeakng_loader")
    from sspnerf.config import SynthConfig
    from sspnerf.synth.writer import write_synthetic_clip

    clip = write_synthetic_clip(tmp_path / "clip", SynthConfig(size=16, seconds=24.0))
    opening, waveform = clip.truth("mouth")[:, 0] / 20, clip.speech()
    for frames in (-8, 0, 5):
        shifted = shift_waveform(waveform, -frames / 25)
        found = estimate_offset(opening, shifted, frame_rate_hz=25)
        assert found.is_known
        assert found.offset_frames == pytest.approx(frames, abs=1.0)


def test_frames_without_a_face_do_not_count():
    opening, waveform = speaker(late_s=0.12)
    lost = np.zeros(len(opening), dtype=bool)
    lost[100:220] = True
    opening[lost] = np.random.default_rng(1).uniform(0, 1, 120)
    found = estimate_offset(opening, waveform, frame_rate_hz=25, valid=~lost)
    assert found.is_known
    assert found.offset_s == pytest.approx(0.12, abs=0.02)
    opening[lost] = np.nan
    again = estimate_offset(opening, waveform, frame_rate_hz=25)
    assert again[:-1] == found[:-1]
    np.testing.assert_array_equal(again.curve, found.curve)


def test_the_curve_is_highest_where_the_offset_is():
    opening, waveform = speaker(late_s=0.12)
    found = estimate_offset(opening, waveform, frame_rate_hz=25)
    lags, correlation = found.curve.T
    assert lags[[0, -1]] == pytest.approx([-0.5, 0.5])
    assert lags[correlation.argmax()] == pytest.approx(found.offset_s, abs=0.006)
    assert correlation.max() == pytest.approx(found.correlation)
    silent = estimate_offset(opening, np.zeros_like(waveform), frame_rate_hz=25)
    assert silent.curve.shape == (0, 2)


def test_a_yawn_and_a_knock_change_little():
    opening, waveform = speaker(late_s=0.12)
    opening[240:260] = 0.5
    waveform[100_000:101_000] = 1.0
    found = estimate_offset(opening, waveform, frame_rate_hz=25)
    assert found.is_known
    assert found.offset_s == pytest.approx(0.12, abs=0.02)


def other_persons():
    return speaker(seed=1)[0], speaker(seed=2)[1]


def silent():
    return speaker()[0], np.zeros(320_000, np.float32)


def humming():
    time = np.arange(320_000) / SAMPLE_RATE
    return speaker()[0], (0.1 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def shut():
    return np.full(500, 0.001), speaker()[1]


def short():
    opening, waveform = speaker()
    return opening[:75], waveform


def without_sound():
    return speaker()[0], np.zeros(0, np.float32)


def never_seen():
    return np.full(500, np.nan), speaker()[1]


def far_out_of_step():
    return speaker(late_s=0.51)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (other_persons, "lips and sound agree too little at any offset"),
        (silent, "the sound is silent, or evenly loud"),
        (humming, "the sound is silent, or evenly loud"),
        (shut, "the lips do not move"),
        (short, "only 3.0 s show a face and have sound"),
        (without_sound, "only 0.0 s show a face and have sound"),
        (never_seen, "only 0.0 s show a face and have sound"),
        (far_out_of_step, "the offset may be larger than 0.5 s"),
    ],
)
def test_an_offset_is_not_claimed_without_evidence(case, reason):
    found = estimate_offset(*case(), frame_rate_hz=25)
    assert not found.is_known
    assert found.reason == reason


def test_other_peoples_sound_is_never_believed():
    for seed in range(20):
        opening, waveform = speaker(seed=seed)[0], speaker(seed=seed + 100)[1]
        assert not estimate_offset(opening, waveform, frame_rate_hz=25).is_known


def test_lips_open_by_a_share_of_the_face():
    points = np.zeros((3, 478, 3), np.float32)
    points[:, 10, 1], points[:, 152, 1] = -50, 50
    for upper, lower in ((82, 87), (13, 14), (312, 317)):
        points[1, upper, 1], points[1, lower, 1] = 20, 28
        # The head turned on its side.
        points[2, upper, 0], points[2, lower, 0] = 20, 24
    points[:, :, 2] = 77
    np.testing.assert_allclose(lip_opening(points), [0, 0.08, 0.04], atol=1e-6)
    # Twice as near: the same.
    np.testing.assert_allclose(lip_opening(2 * points), [0, 0.08, 0.04], atol=1e-6)
    points[1, 13] = np.nan
    np.testing.assert_array_equal(np.isnan(lip_opening(points)), [False, True, False])


def test_loudness_is_heard_around_frames():
    waveform = np.zeros(32_000, np.float32)
    waveform[16_000:] = np.random.default_rng(0).normal(0, 0.1, 16_000)
    loud = loudness_at(waveform, np.array([0, 10, 30, 45, 100]), 25.0)
    assert (loud[[0, 1, 4]] == 0).all()
    assert (loud[[2, 3]] > 15).all()


@pytest.mark.parametrize("late", [-3000, -1, 0, 1, 3000, 20_000, -20_000])
def test_a_shifted_sound_keeps_its_length_and_what_is_left(late):
    waveform = np.random.default_rng(0).normal(0, 1, 10_000).astype(np.float32)
    shifted = shift_waveform(waveform, late / SAMPLE_RATE)
    expected = [waveform[i + late] if 0 <= i + late < 10_000 else 0 for i in range(10_000)]
    np.testing.assert_array_equal(shifted, np.array(expected, np.float32))
    assert shifted.dtype == np.float32


def test_what_is_found_can_be_mended():
    opening, waveform = speaker(late_s=0.2)
    found = estimate_offset(opening, waveform, frame_rate_hz=25)
    mended = shift_waveform(waveform, found.offset_s)
    assert estimate_offset(opening, mended, frame_rate_hz=25).offset_s == pytest.approx(0, abs=0.01)


@has_clips_and_models
@pytest.mark.slow
def test_known_shifts_of_a_real_take_are_found_to_a_frame():
    video = CLIPS / "de_20s.mp4"
    rate_hz, waveform = probe_video(video).frame_rate_hz, read_waveform(video)
    seen = []
    with FaceLandmarker(MODELS / "face_landmarker.task", video=True) as landmarker:
        for index, (_, picture) in enumerate(islice(read_frames(video), 500)):
            seen.append(landmarker.observe(picture[::2, ::2], index / rate_hz))
    opening = lip_opening(np.stack([face.landmarks for face in seen]))
    zero = estimate_offset(opening, waveform, frame_rate_hz=rate_hz)
    assert zero.is_known
    assert abs(zero.offset_frames) < 1
    for frames in range(-8, 9):
        shifted = np.roll(waveform, round(frames / rate_hz * SAMPLE_RATE))
        found = estimate_offset(opening, shifted, frame_rate_hz=rate_hz)
        assert found.is_known
        assert found.offset_frames - zero.offset_frames == pytest.approx(frames, abs=0.5)
