"""What training reads: the split, usable frames, and batches that say what the clip says."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sspnerf.data import dataset as datasets
from sspnerf.data.clip import open_clip
from sspnerf.data.dataset import ClipDataset, split_frames
from sspnerf.data.mapped import release_pages
from sspnerf.data.pixel_sampling import PixelSampler
from sspnerf.errors import ClipError
from tiny_speaker import with_changes


def draw(clip, *, rays=300, frames=4, seed=0, kind="dynamic", **settings):
    dataset, random = ClipDataset(clip), np.random.default_rng(seed)
    index = dataset.choose(np.arange(10), frames=frames, generator=random)
    sampler = PixelSampler(kind=kind, **settings)
    return dataset.draw(sampler, index, rays=rays, generator=random)


def with_valid(clip, tmp_path, valid):
    changed = Path(shutil.copytree(clip.path, tmp_path / "clip"))
    np.save(changed / "valid.npy", np.array(valid, dtype=bool))
    return open_clip(changed)


@pytest.mark.parametrize(
    ("frames", "training"), [(2, 1), (3, 2), (11, 10), (12, 10), (22, 20), (1000, 909)]
)
def test_the_last_of_eleven_parts_is_held_out(frames, training):
    assert split_frames(frames) == (range(training), range(training, frames))


@given(st.integers(2, 10**6))
def test_both_parts_of_a_split_hold_frames(frames):
    training, held_out = split_frames(frames)
    assert len(training) > 0
    assert len(held_out) > 0
    assert len(training) + len(held_out) == frames


@pytest.mark.parametrize(
    ("cuts", "training"),
    [
        ((950,), 950),  # 50 held out instead of 91
        ((955,), 909),  # 45 would be less than half
        ((820,), 820),  # 180 held out
        ((810,), 909),  # 190 would be more than twice
        ((300, 880, 930), 930),  # 21 frames off; the other 29
        ((300,), 909),
    ],
)
def test_the_held_out_part_begins_at_a_cut_that_is_near(cuts, training):
    assert split_frames(1000, cuts) == (range(training), range(training, 1000))


@given(st.integers(2, 400), st.sets(st.integers(1, 400)))
def test_whatever_the_cuts_both_parts_hold_frames_and_the_held_out_one_is_about_an_eleventh(
    frames, cuts
):
    training, held_out = split_frames(frames, sorted(cut for cut in cuts if cut < frames))
    assert len(training) > 0
    assert training.stop == held_out.start
    assert held_out.stop == frames
    usual = len(split_frames(frames)[1])
    assert usual / 2 <= len(held_out) <= 2 * usual


def test_a_clip_is_split_at_its_cut(tiny_clip, tmp_path):
    # 12 frames: 10 and 2 without cuts.
    clip = with_changes(tiny_clip, tmp_path / "clip", manifest={"cuts": [4, 9]})
    dataset = ClipDataset(clip)
    assert (dataset.training, dataset.held_out) == (range(9), range(9, 12))
    assert dataset.usable.max() == 8


@pytest.mark.refuses
@pytest.mark.parametrize("frames", [0, 1])
def test_too_few_frames_are_refused(frames):
    with pytest.raises(ValueError, match=f"the clip has {frames} frame; expected at least 2"):
        split_frames(frames)


def test_a_batch_says_what_the_clip_says(tiny_clip):
    batch = draw(tiny_clip)
    assert len(batch.frame_index) == 4
    assert (np.diff(batch.frame_index) > 0).all()
    assert len(batch.slot) == 300
    for ray in range(0, 300, 7):
        frame = batch.frame_index[batch.slot[ray]]
        x, y = (int(v) for v in batch.pixels[ray] - 0.5)
        assert batch.pixels[ray].tolist() == [x + 0.5, y + 0.5]
        color = torch.from_numpy(tiny_clip.frames[frame, y, x].astype(np.float32) / 255)
        behind = torch.from_numpy(tiny_clip.background[y, x].astype(np.float32) / 255)
        assert torch.equal(batch.color[ray], color)
        assert torch.equal(batch.background[ray], behind)
        assert batch.labels[ray] == tiny_clip.labels[frame, y, x]
        assert batch.mask[ray] == tiny_clip.mask[frame, y, x] / 255


def test_only_training_frames_are_drawn(tiny_clip):
    dataset = ClipDataset(tiny_clip)
    assert (len(dataset.training), len(dataset.held_out)) == (10, 2)
    seen = {i for seed in range(30) for i in draw(tiny_clip, rays=8, seed=seed).frame_index}
    assert seen == set(range(10))


def test_frames_that_were_not_tracked_are_left_out(tiny_clip, tmp_path):
    clip = with_valid(tiny_clip, tmp_path, [0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1])
    assert ClipDataset(clip).usable.tolist() == [1, 4, 9]
    assert draw(clip, frames=8).frame_index.tolist() == [1, 4, 9]


def test_preferred_frames_are_chosen_where_they_show_a_face(tiny_clip, tmp_path):
    dataset = ClipDataset(with_valid(tiny_clip, tmp_path, [0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1]))
    random = np.random.default_rng(0)
    assert dataset.choose(np.array([2, 4, 11]), frames=3, generator=random).tolist() == [4]
    assert dataset.choose(np.array([2, 3]), frames=3, generator=random).tolist() == [1, 4, 9]


def test_the_same_seed_draws_the_same_rays(tiny_clip):
    first, second, other = (draw(tiny_clip, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.pixels, second.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_each_frame_is_drawn_by_the_rectangle_around_its_own_face(tiny_clip, tmp_path):
    changed = Path(shutil.copytree(tiny_clip.path, tmp_path / "clip"))
    points = np.zeros_like(tiny_clip.landmarks)
    # A point 5 px from the left at first, 1 px further in each frame: one column of one pixel.
    points[:, :, 0] = 5.5 + np.arange(len(points))[:, None]
    points[:, :, 1] = 20.5
    np.save(changed / "landmarks.npy", points)
    batch = draw(open_clip(changed), kind="face-rectangle", background="all", rays=80)
    for slot, frame in enumerate(batch.frame_index):
        face = torch.tensor([5.5 + frame, 20.5])
        # One pixel takes one ray and hands on the rest: no pixel twice if others are left.
        assert (batch.pixels[batch.slot == slot] == face).all(dim=1).sum() == 1


def test_batches_are_the_same_when_memory_is_given_back(tiny_clip, monkeypatch):
    released = []

    def release(array):
        released.append(array)
        return release_pages(array)

    monkeypatch.setattr(datasets, "release_pages", release)
    dataset, sampler = ClipDataset(tiny_clip), PixelSampler(kind="dynamic")
    # A frame of 48 x 48 px has 5 bytes per pixel: 4 frames fit, 8 do not.
    for most, times in ((1 << 30, 0), (5 * 48 * 48 * 5, 2)):
        monkeypatch.setattr(datasets, "MAPPED_BYTES", most)
        random = np.random.default_rng(0)
        batches = [
            dataset.draw(sampler, np.arange(4), rays=200, generator=random) for _ in range(4)
        ]
        assert len(released) == 3 * times
        if times == 0:
            expected = batches
    for batch, wanted in zip(batches, expected, strict=True):
        assert torch.equal(batch.color, wanted.color)
        assert torch.equal(batch.pixels, wanted.pixels)


@pytest.mark.refuses
def test_a_clip_without_a_tracked_training_frame_is_refused(tiny_clip, tmp_path):
    clip = with_valid(tiny_clip, tmp_path, [0] * 10 + [1, 1])
    with pytest.raises(ClipError, match="no frame for training shows a tracked face") as caught:
        ClipDataset(clip)
    assert "preview" in caught.value.hint
