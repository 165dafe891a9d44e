"""Features that the user brings: shapes, rates, windows rolled out, what is refused."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sspnerf.data.feature_file import read_feature_file
from sspnerf.data.manifest import SpeechFeature
from sspnerf.errors import UsageError


def save(folder, array, name="aud.npy"):
    np.save(folder / name, array)
    return folder / name


def rows(count, dim, *, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def deepspeech_windows(logits):
    """AD-NeRF's: 8 zero rows at either end, then 16 rows every 2, one window per video frame."""
    padded = np.pad(logits, ((8, 8), (0, 0)))
    return np.stack([padded[start : start + 16] for start in range(0, len(logits), 2)])


def test_rows_are_taken_as_they_are(tmp_path):
    features = rows(100, 7)
    for dtype in (np.float32, np.float64, np.float16):
        file = save(tmp_path, features.astype(dtype))
        read, told = read_feature_file(file, seconds=2.0, rate_hz=50.0)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, features.astype(dtype).astype(np.float32))
        assert told == SpeechFeature(rate_hz=50.0, dim=7)


def test_deepspeech_windows_become_the_rows_they_were_cut_from(tmp_path):
    logits = rows(500, 29)
    windows = deepspeech_windows(logits)
    assert windows.shape == (250, 16, 29)
    read, told = read_feature_file(save(tmp_path, windows), seconds=10.0, rate_hz=25.0)
    np.testing.assert_array_equal(read, logits)
    assert told == SpeechFeature(rate_hz=50.0, dim=29)


@given(st.integers(2, 9), st.integers(1, 4), st.integers(2, 20))
def test_any_overlap_is_found(half, hop, frames):
    hop, window = min(hop, half), 2 * half
    stream = rows(hop * frames + window, 3)
    windows = np.stack([stream[i * hop : i * hop + window] for i in range(frames)])
    with tempfile.TemporaryDirectory() as folder:
        file = save(Path(folder), windows)
        read, told = read_feature_file(file, seconds=frames / 25, rate_hz=25.0)
    assert told == SpeechFeature(rate_hz=25.0 * hop, dim=3)
    np.testing.assert_array_equal(read, stream[half : half + hop * frames])


def test_windows_that_do_not_overlap_are_flattened(tmp_path):
    windows = rows(50 * 2, 10).reshape(50, 2, 10)
    read, told = read_feature_file(save(tmp_path, windows), seconds=2.0, rate_hz=25.0)
    np.testing.assert_array_equal(read, windows.reshape(50, 20))
    assert told == SpeechFeature(rate_hz=25.0, dim=20)


def test_new_features_are_read_like_those_of_the_training(tmp_path):
    """Silence at the start of a new recording must not change how its windows are read."""
    logits = rows(100, 29)
    like = SpeechFeature(rate_hz=50.0, dim=29)
    silent = np.zeros((50, 16, 29), np.float32)
    for windows, expected in ((deepspeech_windows(logits), logits), (silent, 0 * logits)):
        read, told = read_feature_file(save(tmp_path, windows), seconds=2, rate_hz=1, like=like)
        np.testing.assert_array_equal(read, expected)
        assert told == like
    read, _ = read_feature_file(save(tmp_path, logits), seconds=2, rate_hz=1, like=like)
    np.testing.assert_array_equal(read, logits)
    flat = SpeechFeature(rate_hz=25.0, dim=16 * 29)
    read, told = read_feature_file(save(tmp_path, silent), seconds=2, rate_hz=1, like=flat)
    assert (read.shape, told) == ((50, 464), flat)


def test_one_feature_more_or_less_is_no_reason_to_stop(tmp_path):
    """AD-NeRF's own files hold one window less than there are frames."""
    windows = deepspeech_windows(rows(498, 29))
    read, _ = read_feature_file(save(tmp_path, windows), seconds=10.0, rate_hz=25.0)
    assert len(read) == 498


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(50), "has shape (50,); expected (feature_frames, dim) or (frames, window, dim)"),
        (np.zeros((50, 0)), "has shape (50, 0)"),
        (np.zeros((2, 3, 4, 5)), "has shape (2, 3, 4, 5)"),
        (np.zeros((50, 3), complex), "is complex128; expected real numbers"),
        (np.full((50, 3), "a"), "is <U1; expected real numbers"),
        (np.where(np.eye(50, 3) * np.arange(50)[:, None] == 2, np.nan, 1), "feature 2 of"),
        (np.ones((50, 3)), "holds 2.0 s of features (50 of them), and the recording lasts 4.0 s"),
    ],
)
def test_what_is_no_such_array_is_refused(array, message, tmp_path):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read_feature_file(save(tmp_path, array), seconds=4.0, rate_hz=25.0)
    assert caught.value.hint


@pytest.mark.refuses
def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none\.npy does not exist"):
        read_feature_file(tmp_path / "none.npy", seconds=1, rate_hz=25)
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(UsageError, match="is no NumPy array"):
        read_feature_file(tmp_path / "text.npy", seconds=1, rate_hz=25)
    np.save(tmp_path / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="is no NumPy array"):
        read_feature_file(tmp_path / "objects.npy", seconds=1, rate_hz=25)
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
    with pytest.raises(UsageError, match="holds more than one array"):
        read_feature_file(tmp_path / "two.npz", seconds=1, rate_hz=25)


@pytest.mark.refuses
def test_features_of_another_width_are_refused(tmp_path):
    like = SpeechFeature(rate_hz=50.0, dim=29)
    with pytest.raises(UsageError, match="of 30 numbers; the portrait listens to 29"):
        read_feature_file(save(tmp_path, rows(100, 30)), seconds=2, rate_hz=50, like=like)
