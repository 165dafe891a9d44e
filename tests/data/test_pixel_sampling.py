"""Dynamic ray sampling: shares by hand and by law, near-person pixels only, losses that steer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
from sspnerf.data.pixel_sampling import (
    FLOOR_SHARE,
    LOSS_MEMORY,
    PERSON_MARGIN_PX,
    PERSON_THRESHOLD,
    PixelSampler,
    allocate_rays,
)
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass

BACKGROUND, SKIN, LIP, TORSO = (
    *(SemanticClass.BACKGROUND, SemanticClass.SKIN, SemanticClass.LIP, SemanticClass.TORSO),
)


@pytest.fixture
def random():
    return np.random.default_rng(11)


@pytest.fixture
def pictures():
    """Two frames of 30 x 40 px: a square of skin with lips, and a torso; the mask fits them."""
    labels = np.full((2, 30, 40), BACKGROUND, dtype=np.uint8)
    labels[0, 5:15, 5:15] = SKIN
    labels[0, 11:13, 8:12] = LIP
    labels[1, 20:30, 10:30] = TORSO
    return labels, np.where(labels != BACKGROUND, 255, 0).astype(np.uint8)


def allocate(losses, available, rays):
    return allocate_rays(np.array(losses, float), np.array(available), rays=rays).tolist()


def test_rays_go_to_classes_in_proportion_to_their_losses():
    assert allocate([3, 1, 4], [99, 99, 99], 80) == [30, 10, 40]


def test_a_class_without_pixels_hands_its_share_on():
    assert allocate([3, 100, 1], [9, 0, 9], 8) == [6, 0, 2]


def test_a_class_that_is_learned_keeps_a_floor():
    first, second = allocate([1, 0], [99_999, 99_999], 10_000)
    assert second == round(10_000 * FLOOR_SHARE / (1 + FLOOR_SHARE))
    assert first == 10_000 - second


def test_without_any_loss_all_classes_get_the_same():
    assert allocate([0, 0, 0], [9, 0, 8], 10) == [5, 0, 5]


def test_rounding_goes_to_the_largest_remainders():
    # Shares 5.25, 2.625 and 2.625 of 10.5 losses: 10 rays are 5.0, 2.5, 2.5.
    assert allocate([5.25, 2.625, 2.625], [9, 9, 9], 10) == [5, 3, 2]
    assert allocate([0.62, 0.21, 0.17], [9, 9, 9], 10) == [6, 2, 2]


def test_no_pixels_get_no_rays():
    assert allocate([1, 1], [0, 0], 100) == [0, 0]


def test_a_class_with_few_pixels_hands_on_what_it_cannot_use():
    assert allocate([1, 1, 8], [50, 50, 10], 60) == [25, 25, 10]
    assert allocate([1, 4, 8], [50, 12, 10], 40) == [18, 12, 10]


def test_with_fewer_pixels_than_rays_pixels_repeat():
    assert allocate([1, 3], [2, 2], 8) == [2, 6]


def test_the_first_loss_of_a_class_replaces_the_start_value():
    sampler = PixelSampler(dynamic=True)
    sampler.update(np.array([LIP, LIP], np.uint8), np.array([0.1, 0.3], np.float32))
    assert sampler.losses[LIP] == pytest.approx(0.2)
    sampler.update(np.array([LIP], np.uint8), np.array([0.4], np.float32))
    assert sampler.losses[LIP] == pytest.approx(0.3)
    assert sampler.losses[SKIN] == 1.0


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(0, 3)), min_size=SEMANTIC_CLASSES,
        max_size=SEMANTIC_CLASSES,
    ),
    st.integers(0, 5000),
)  # fmt: skip
def test_the_sum_is_exact_and_nobody_without_pixels_gets_any(classes, rays):
    losses, available = map(np.array, zip(*classes, strict=True))
    count = allocate_rays(losses, available, rays=rays)
    assert (count >= 0).all()
    assert not count[available == 0].any()
    assert count.sum() == (rays if available.any() else 0)


@given(st.lists(st.floats(1, 3), min_size=2, max_size=6), st.integers(0, 5000))
def test_shares_are_within_one_ray_of_the_exact_ones(losses, rays):
    available = [9999] * len(losses)
    exact = oracles.share_rays(losses, available, rays)
    np.testing.assert_array_less(np.abs(np.subtract(allocate(losses, available, rays), exact)), 1.0)


@pytest.mark.parametrize("dynamic", [True, False])
def test_every_pixel_drawn_is_near_the_person(pictures, random, dynamic):
    labels, mask = pictures
    sampler = PixelSampler(dynamic=dynamic, uniform_share=0.3)
    drawn = sampler.draw(labels, mask, rays=4000, generator=random)
    near = [
        np.array(oracles.dilate_picture(m.tolist(), PERSON_THRESHOLD, PERSON_MARGIN_PX), bool)
        for m in mask
    ]
    for slot in (0, 1):
        seen = np.zeros(30 * 40, dtype=bool)
        seen[drawn.pixel[drawn.slot == slot]] = True
        assert not (seen & ~near[slot].reshape(-1)).any()
        # 2000 draws over at most 336 pixels leave out fewer than one in a hundred of them.
        assert seen.sum() > 0.9 * near[slot].sum()


def test_frames_share_the_rays_evenly(pictures, random):
    labels, mask = pictures
    drawn = PixelSampler(dynamic=True).draw(labels, mask, rays=101, generator=random)
    assert np.bincount(drawn.slot).tolist() == [51, 50]
    assert drawn.slot.dtype == drawn.pixel.dtype == np.int64


def test_at_first_each_class_gets_the_same(pictures, random):
    labels, mask = pictures
    drawn = PixelSampler(dynamic=True).draw(labels, mask, rays=48, generator=random)
    of_first = labels[0].reshape(-1)[drawn.pixel[drawn.slot == 0]]
    count = np.bincount(of_first, minlength=SEMANTIC_CLASSES)
    assert count[[BACKGROUND, SKIN, LIP]].tolist() == [8, 8, 8]


def test_shares_follow_the_losses(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(dynamic=True)
    sampler.losses[[BACKGROUND, SKIN, LIP]] = [1.0, 1.0, 8.0]
    drawn = sampler.draw(labels, mask, rays=20, generator=random)
    count = np.bincount(labels[0].reshape(-1)[drawn.pixel[drawn.slot == 0]])
    assert count[[BACKGROUND, SKIN, LIP]].tolist() == [1, 1, 8]


def test_uniform_sampling_ignores_the_losses(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(dynamic=False)
    sampler.losses[LIP] = 1e6
    drawn = sampler.draw(labels[:1], mask[:1], rays=5000, generator=random)
    lips = (labels[0].reshape(-1)[drawn.pixel] == LIP).mean()
    # 8 of 18 x 18 pixels; the deviation of 5000 draws is 0.0022.
    assert lips == pytest.approx(8 / 324, abs=4 * 0.0022)


def test_a_part_stays_uniform_if_asked(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(dynamic=True, uniform_share=0.5)
    sampler.losses[:] = 0.0
    sampler.losses[LIP] = 1.0
    drawn = sampler.draw(labels[:1], mask[:1], rays=4000, generator=random)
    lips = (labels[0].reshape(-1)[drawn.pixel] == LIP).mean()
    dynamic = 1 / (1 + 2 * FLOOR_SHARE)
    assert lips == pytest.approx(0.5 * dynamic + 0.5 * 8 / 324, abs=0.02)


def test_a_frame_without_a_person_gives_nothing(pictures, random):
    labels, mask = pictures
    labels[1], mask[1] = BACKGROUND, 0
    drawn = PixelSampler(dynamic=True).draw(labels, mask, rays=100, generator=random)
    assert drawn.slot.tolist() == [0] * 50


def test_labels_far_from_the_mask_are_drawn_all_the_same(pictures, random):
    labels, mask = pictures
    mask[:] = 0
    drawn = PixelSampler(dynamic=True).draw(labels, mask, rays=500, generator=random)
    assert BACKGROUND not in labels.reshape(2, -1)[drawn.slot, drawn.pixel]


def test_mean_losses_move_towards_what_is_seen():
    sampler = PixelSampler(dynamic=True)
    sampler.updates[:] = 1000  # long past the first steps
    labels = np.array([SKIN, SKIN, LIP], dtype=np.uint8)
    sampler.update(labels, np.array([0.2, 0.4, 3.0], dtype=np.float32))
    expected = np.ones(SEMANTIC_CLASSES)
    expected[SKIN] = LOSS_MEMORY + (1 - LOSS_MEMORY) * 0.3
    expected[LIP] = LOSS_MEMORY + (1 - LOSS_MEMORY) * 3.0
    np.testing.assert_allclose(sampler.losses, expected, rtol=1e-6)


@pytest.mark.refuses
def test_a_label_that_is_no_class_is_refused(pictures, random):
    labels, mask = pictures
    labels[1, 0, 0] = 200
    with pytest.raises(ValueError, match="labels hold the value 200; expected 0 to 10"):
        PixelSampler(dynamic=True).draw(labels, mask, rays=10, generator=random)
