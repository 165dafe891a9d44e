"""A few frames at a few pixels: the steps, the shifts, and what is read from them."""

import numpy as np
import pytest
import torch

from small_learners import learner_of
from sspnerf.data.dataset import ClipDataset
from sspnerf.data.pixel_sampling import PERSON_THRESHOLD
from sspnerf.geometry.cameras import pixel_centers
from sspnerf.geometry.rays import cast_rays
from sspnerf.render.person_map import on_person
from sspnerf.train import snapshot
from sspnerf.train.lattice import lattices


def laid(clip, *, frames=10, points=12, seed=0):
    random = np.random.default_rng(seed)
    return list(lattices(ClipDataset(clip), frames=frames, points=points, generator=random))


def test_pixels_are_the_centres_of_the_rows_and_columns(tiny_clip):
    for lattice in laid(tiny_clip):
        y, x = np.mgrid[:48, :48]
        picture = np.stack((x, y), axis=-1) + 0.5
        expected = picture[lattice.rows, lattice.columns].reshape(-1, 2)
        np.testing.assert_array_equal(lattice.pixels, expected)


@pytest.mark.parametrize(("points", "count"), [(12, 144), (16, 256), (48, 2304), (500, 2304)])
def test_a_lattice_has_as_many_points_as_asked_for_or_the_picture_has(tiny_clip, points, count):
    assert {len(lattice.pixels) for lattice in laid(tiny_clip, points=points)} == {count}


def test_in_time_every_pixel_is_looked_at(tiny_clip):
    seen = np.zeros((48, 48), bool)
    for seed in range(20):
        for lattice in laid(tiny_clip, seed=seed):
            seen[lattice.rows, lattice.columns] = True
    assert seen.all()


def test_frames_are_spread_over_those_for_training(tiny_clip):
    # 12 frames, 10 of them for training.
    assert [lattice.frame for lattice in laid(tiny_clip, frames=5)] == [0, 2, 4, 6, 8]
    assert [lattice.frame for lattice in laid(tiny_clip, frames=99)] == list(range(10))


def test_the_same_seed_lays_the_same_lattices(tiny_clip):
    first, second = laid(tiny_clip, seed=3), laid(tiny_clip, seed=3)
    assert [a[:3] for a in first] == [b[:3] for b in second]
    assert [a[:3] for a in first] != [b[:3] for b in laid(tiny_clip, seed=4)]


def kept_pixels(clip, monkeypatch, points):
    """Pixels of the training frames that may show the person, as a portrait knows it."""
    monkeypatch.setattr(snapshot, "MAP_POINTS_PER_SIDE", points)
    learner = learner_of(clip)
    person_map = learner.portrait(0.0).person_map
    pixels, slot = pixel_centers(48, 48), torch.zeros(48 * 48, dtype=torch.long)
    kept = []
    for frame in range(10):
        poses = learner.tracked.poses[frame, None]
        torso_poses = learner.tracked.torso_poses[frame, None]
        rays = cast_rays(
            clip.manifest.intrinsics, pixels, poses=poses, torso_poses=torso_poses, slot=slot
        )
        kept.append(on_person(person_map, learner.driven, rays).view(48, 48).numpy())
    return np.array(kept)


def test_a_portrait_knows_where_training_frames_show_the_person(tiny_clip, monkeypatch):
    kept = kept_pixels(tiny_clip, monkeypatch, 48)
    shown = tiny_clip.mask[:10] > PERSON_THRESHOLD
    assert kept[shown].all()
    assert kept[~shown].mean() < 0.25
    # Half of the rows and columns say nothing else, only less.
    sparse = kept_pixels(tiny_clip, monkeypatch, 24)
    assert not (sparse & ~kept).any()
    assert sparse.sum() > 0.5 * kept.sum()
