"""Pages of memory maps: given back, and read again when asked."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sspnerf.data.mapped import release_pages

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its memory")


def mapped_kb():
    """Memory of files in this process, kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@linux
def test_released_pages_are_no_longer_held_and_read_the_same(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (16, 1 << 20), dtype=np.uint8)
    np.save(tmp_path / "values.npy", values)
    array = np.asarray(np.load(tmp_path / "values.npy", mmap_mode="r"))
    np.testing.assert_array_equal(array, values)
    full = mapped_kb()
    assert release_pages(array)
    # 16 MB were read; other files of the process may move a little.
    assert mapped_kb() < full - 12_000
    np.testing.assert_array_equal(array, values)


@linux
def test_a_part_of_a_map_releases_the_whole(tmp_path):
    np.save(tmp_path / "values.npy", np.ones((4, 10), np.uint8))
    array = np.asarray(np.load(tmp_path / "values.npy", mmap_mode="r"))
    assert release_pages(array[2].reshape(2, 5))
    assert array.sum() == 40


def test_arrays_in_memory_stay_as_they_are():
    array = np.arange(4)
    assert not release_pages(array[1:])
    assert array.tolist() == [0, 1, 2, 3]
