"""Sound, features and blinks of the layout."""

import numpy as np
import pytest

from sspnerf.errors import MediaError
from sspnerf.exchange.recorded import (
    find_features,
    find_sound,
    read_blinks,
    read_features,
    write_blinks,
)


def nothing(line):
    raise AssertionError(line)


def test_a_block_becomes_a_row(tmp_path):
    blocks = np.arange(5 * 16 * 29, dtype=np.float64).reshape(5, 16, 29)
    np.save(tmp_path / "aud.npy", blocks)
    rows, shape = read_features(tmp_path / "aud.npy", np.array([1, 2, 4]), 25, nothing)
    assert (rows.dtype, shape) == (np.float32, "16x29")
    np.testing.assert_array_equal(rows, blocks[[1, 2, 4]].reshape(3, -1))


def test_features_that_end_a_little_early_are_held(tmp_path):
    np.save(tmp_path / "aud.npy", np.arange(8.0).reshape(4, 2, 1))
    told = []
    rows, _ = read_features(tmp_path / "aud.npy", np.arange(6), 25, told.append)
    np.testing.assert_array_equal(rows[3:], [[6, 7]] * 3)
    assert told == ["aud.npy ends 2 frames before the picture; its last row is held"]


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 16, 29)), "has 5 rows; the frames ask for 20"),
        (np.zeros(20), r"is float64 \(20,\); expected numbers"),
        (np.full((20, 2, 3), np.nan), "holds NaN or infinity"),
        (np.array([["a", "b"]] * 20), r"is <U1 \(20, 2\); expected numbers"),
    ],
)
def test_other_features_are_refused(tmp_path, array, message):
    np.save(tmp_path / "aud_ds.npy", array)
    with pytest.raises(MediaError, match=message):
        read_features(tmp_path / "aud_ds.npy", np.arange(20), 25, nothing)


@pytest.mark.refuses
def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "aud.npy").write_bytes(b"no array")
    with pytest.raises(MediaError, match=r"aud\.npy cannot be read"):
        read_features(tmp_path / "aud.npy", np.arange(2), 25, nothing)


def test_features_are_named_after_their_files(tmp_path):
    for name in ("aud.npy", "aud_ds.npy", "aud_hu.npy", "others.npy"):
        (tmp_path / name).touch()
    assert list(find_features(tmp_path)) == ["aud", "aud_ds", "aud_hu"]


@pytest.mark.parametrize("header", ["frame,AU01_r,AU45_r", "frame, AU01_r, AU45_r"])
def test_blinks_are_read_with_and_without_spaces_in_the_header(tmp_path, header):
    rows = "\n".join(f"{i + 1}, 0.3, {strength}" for i, strength in enumerate((0, 1, 2.5, 5, 6)))
    (tmp_path / "au.csv").write_text(f"{header}\n{rows}\n")
    blinks = read_blinks(tmp_path / "au.csv", range(1, 7))
    np.testing.assert_allclose(blinks, [0.2, 0.5, 1, 1, np.nan, np.nan])


def test_er_nerf_finds_the_column_it_reads(tmp_path):
    """It asks pandas for the column ` AU45_r`, with its space, at row img_id, and halves it."""
    write_blinks(tmp_path / "au.csv", np.array([0.0, 0.2, 1.0]), 25.0)
    header, *rows = [line.split(",") for line in (tmp_path / "au.csv").read_text().splitlines()]
    column = header.index(" AU45_r")
    assert [float(row[column]) for row in rows] == [0.0, 1.0, 5.0]
    np.testing.assert_allclose(read_blinks(tmp_path / "au.csv", range(3)), [0, 0.2, 1], atol=1e-3)


@pytest.mark.refuses
@pytest.mark.parametrize("content", ["", "frame,AU01_r\n1,2\n", "AU45_r\nmuch\n", "a,AU45_r\n1\n"])
def test_another_table_is_refused(tmp_path, content):
    (tmp_path / "au.csv").write_text(content)
    with pytest.raises(MediaError, match=r"au\.csv has no column AU45_r of numbers"):
        read_blinks(tmp_path / "au.csv", range(3))


def test_the_sound_is_aud_wav_or_the_only_one(tmp_path):
    told = []
    assert find_sound(tmp_path, told.append) is None
    assert "no sound" in told.pop()
    (tmp_path / "may.wav").touch()
    assert find_sound(tmp_path, told.append) == tmp_path / "may.wav"
    assert told.pop() == f"{tmp_path} has no aud.wav; may.wav is taken for it"
    (tmp_path / "aud.wav").touch()
    assert find_sound(tmp_path, nothing) == tmp_path / "aud.wav"


@pytest.mark.refuses
def test_two_sounds_are_ambiguous(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "b.wav").touch()
    with pytest.raises(MediaError, match=r"2 other \.wav files: a\.wav, b\.wav"):
        find_sound(tmp_path, nothing)
