"""Folders of arrays: whole or not at all, and nothing of the user's is lost."""

import numpy as np
import pytest

from sspnerf.errors import UsageError
from sspnerf.render.frame_arrays import FrameArrays
from sspnerf.render.portrait import RenderedFrame


def frame_of(value):
    whole = np.full((2, 3), value)
    return RenderedFrame(
        np.full((2, 3, 3), value, np.uint8),
        whole.astype(np.uint8),
        whole.astype(np.float32) / 10,
        whole.astype(np.float32),
    )


def write(path, values, **settings):
    with FrameArrays(path, **settings) as arrays:
        for value in values:
            arrays.write(frame_of(value))


def colors(path):
    files = sorted(path.iterdir())
    assert [file.name for file in files] == [f"{i:06d}.npz" for i in range(len(files))]
    return [int(np.load(file)["color"][0, 0, 0]) for file in files]


@pytest.mark.parametrize("there", [False, True])
def test_frames_are_numbered_and_keep_their_types(tmp_path, there):
    if there:
        (tmp_path / "arrays").mkdir()
    write(tmp_path / "arrays", [4, 2])
    assert colors(tmp_path / "arrays") == [4, 2]
    with np.load(tmp_path / "arrays" / "000001.npz") as kept:
        for name, value in frame_of(2)._asdict().items():
            assert kept[name].dtype == value.dtype
            np.testing.assert_array_equal(kept[name], value)
    assert list(tmp_path.iterdir()) == [tmp_path / "arrays"]


def test_nothing_appears_before_the_end(tmp_path):
    with FrameArrays(tmp_path / "arrays") as arrays:
        arrays.write(frame_of(1))
        assert not (tmp_path / "arrays").exists()
    assert colors(tmp_path / "arrays") == [1]


def test_an_earlier_longer_film_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "arrays", [1, 2, 3])
    write(tmp_path / "arrays", [9], overwrite=True)
    assert colors(tmp_path / "arrays") == [9]


def test_what_breaks_leaves_what_was_there(tmp_path):
    write(tmp_path / "arrays", [1, 2])
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "arrays", (1 // value for value in (1, 0)), overwrite=True)
    assert colors(tmp_path / "arrays") == [1, 2]
    assert list(tmp_path.iterdir()) == [tmp_path / "arrays"]


@pytest.mark.refuses
def test_a_folder_that_is_not_empty_is_kept(tmp_path):
    write(tmp_path / "arrays", [1])
    with pytest.raises(UsageError, match="arrays is not empty") as caught:
        FrameArrays(tmp_path / "arrays")
    assert "--overwrite" in caught.value.hint
    assert colors(tmp_path / "arrays") == [1]


@pytest.mark.refuses
@pytest.mark.parametrize("name", ["mine.txt", "000000.npz.txt", "1.npz"])
def test_what_is_not_of_a_film_is_never_overwritten(tmp_path, name):
    (tmp_path / name).write_text("dear to me")
    with pytest.raises(UsageError, match=f"holds {name}, which is not of a film"):
        FrameArrays(tmp_path, overwrite=True)
    assert (tmp_path / name).read_text() == "dear to me"


@pytest.mark.refuses
def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "arrays").write_text("dear to me")
    with pytest.raises(UsageError, match="arrays is not a folder"):
        FrameArrays(tmp_path / "arrays", overwrite=True)
