"""How a clip comes to be: space is reserved, what was begun stays, one program writes."""

import errno
import os

import numpy as np
import pytest

from sspnerf.data.clip import open_clip
from sspnerf.data.clip_writer import ClipWriter, allocate_array, partial_folder
from sspnerf.errors import UsageError


def test_what_is_kept_is_there_for_the_next_writer(tmp_path):
    with ClipWriter(tmp_path / "clip", keep=True) as writer:
        writer.write_array("valid", np.ones(3, bool))
        (writer.scratch_folder / "note").write_text("begun")
    with ClipWriter(tmp_path / "clip", keep=True) as writer:
        assert np.load(writer.partial / "valid.npy").all()
        assert (writer.scratch_folder / "note").read_text() == "begun"
        writer.discard()
    assert not partial_folder(tmp_path / "clip").exists()
    with ClipWriter(tmp_path / "clip") as writer:
        assert [entry.name for entry in writer.partial.iterdir()] == ["work"]


@pytest.mark.refuses
def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    with (
        ClipWriter(tmp_path / "clip", keep=True),
        pytest.raises(UsageError, match=f"another program is writing {tmp_path / 'clip'}"),
    ):
        ClipWriter(tmp_path / "clip", keep=True)
    with ClipWriter(tmp_path / "clip", keep=True):
        pass


def test_space_is_reserved_when_an_array_is_made(tmp_path):
    array = allocate_array(tmp_path / "a.npy", (1000, 1000), np.uint8)
    assert not array.any()
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1_000_000
    array[3] = 7
    array.flush()
    assert (np.load(tmp_path / "a.npy")[3] == 7).all()


@pytest.mark.refuses
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_none(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left on device") as caught:
        allocate_array(tmp_path / "a.npy", (10, 10), np.uint8)
    assert caught.value.filename == str(tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())


def test_a_clip_that_is_taken_over_does_not_change_with_the_new_one(tiny_clip, tmp_path):
    path = tmp_path / "clip"
    with ClipWriter(path) as writer:
        for file in tiny_clip.path.rglob("*"):
            if file.is_file():
                target = writer.partial / file.relative_to(tiny_clip.path)
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(file.read_bytes())
        old = writer.commit(tiny_clip.manifest)
    with ClipWriter(path, overwrite=True, keep=True) as writer:
        writer.take_over()
        assert (writer.partial / "frames.npy").samefile(path / "frames.npy")
        writer.write_array("blendshapes", old.blendshapes + 1)
        labels = writer.create_array("labels", old.labels.shape)
        labels[:] = 3
        writer.write_feature("logmel", old.feature("logmel") + 1)
        untouched = open_clip(path)
        np.testing.assert_array_equal(untouched.labels, tiny_clip.labels)
        np.testing.assert_array_equal(untouched.blendshapes, tiny_clip.blendshapes)
        np.testing.assert_array_equal(untouched.feature("logmel"), tiny_clip.feature("logmel"))
        new = writer.commit(tiny_clip.manifest)
    np.testing.assert_array_equal(new.blendshapes, tiny_clip.blendshapes + 1)
    np.testing.assert_array_equal(new.labels, 3)
    np.testing.assert_array_equal(new.frames, tiny_clip.frames)


def test_a_clip_that_lost_its_name_gets_it_back(tiny_clip, tmp_path):
    """A program was killed between taking the old clip away and naming the new one."""
    path = tmp_path / "clip"
    path.with_name(".clip.discarded").mkdir()
    for name in ("clip.json", "valid.npy"):
        content = (tiny_clip.path / name).read_bytes()
        (path.with_name(".clip.discarded") / name).write_bytes(content)
    with pytest.raises(UsageError, match="exists already"):
        ClipWriter(path)
    assert (path / "valid.npy").is_file()
    assert not path.with_name(".clip.discarded").exists()


def test_a_link_to_a_clip_stays_a_link(tiny_clip, tmp_path):
    true, link = tmp_path / "disk" / "clip", tmp_path / "link"
    true.parent.mkdir()
    link.symlink_to(true)
    for value in (1, 2):
        with ClipWriter(link, overwrite=True) as writer:
            for file in tiny_clip.path.rglob("*"):
                target = writer.partial / file.relative_to(tiny_clip.path)
                if file.is_file():
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(file.read_bytes())
            writer.write_array("labels", np.full_like(tiny_clip.labels, value))
            writer.commit(tiny_clip.manifest)
    assert link.is_symlink()
    assert (open_clip(true).labels == 2).all()
    assert [entry.name for entry in true.parent.iterdir()] == ["clip"]
