"""Ray sampling: shares by hand, oracle and law; available pixels only; losses that steer."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
from sspnerf.data.pixel_sampling import (
    FACE_SHARE,
    FLOOR_SHARE,
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
    # 0.02 of 10 000, which the others pay by their losses.
    assert allocate([3, 1, 0], [9999] * 3, 10_000) == [7350, 2450, 200]


def test_paying_for_a_floor_takes_nobody_below_it():
    # 0.0202 of the losses is above the floor, but not when 0.98 are left to be shared.
    assert allocate([97_980, 2020, 0], [99_999] * 3, 10_000) == [9600, 200, 200]


def test_a_class_at_the_floor_takes_what_others_hand_on():
    assert allocate([1, 0, 0], [4, 50, 0], 20) == [4, 16, 0]


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


def test_without_a_floor_a_class_without_loss_takes_what_others_cannot_use():
    counts = allocate_rays(np.array([1.0, 0.0]), np.array([4, 50]), rays=20, floor=0.0)
    assert counts.tolist() == [4, 16]


def test_with_fewer_pixels_than_rays_pixels_repeat():
    assert allocate([1, 3], [2, 2], 8) == [2, 6]


def test_many_classes_still_share_by_their_losses():
    assert allocate([61, *[1] * 59], [999] * 60, 1200) == [610, *[10] * 59]


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


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1e-3, 0.1, 0.15, 1, 7]), st.sampled_from([0, 1, 9, 80, 999])),
        min_size=1, max_size=SEMANTIC_CLASSES,
    ),
    st.integers(0, 2000),
)  # fmt: skip
def test_shares_are_within_one_ray_of_the_exact_ones(classes, rays):
    losses, available = zip(*classes, strict=True)
    exact = oracles.share_rays(losses, available, rays, floor=FLOOR_SHARE)
    count = allocate(losses, available, rays)
    np.testing.assert_array_less(np.abs(np.subtract(count, exact)), 1.0)
    assert sum(available) <= rays or (np.array(count) <= available).all()


@pytest.mark.parametrize("kind", ["dynamic", "uniform", "face-rectangle"])
def test_every_pixel_drawn_is_near_the_person(pictures, random, kind, backend):
    labels, mask = pictures
    sampler = PixelSampler(kind=kind, uniform_share=0.3)
    everything = np.array([[0, 0, 40, 30]] * 2)
    drawn = sampler.draw(labels, mask, rays=4000, generator=random, rectangles=everything)
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
    drawn = PixelSampler(kind="dynamic").draw(labels, mask, rays=101, generator=random)
    assert np.bincount(drawn.slot).tolist() == [51, 50]
    assert drawn.slot.dtype == drawn.pixel.dtype == np.int64


def test_at_first_each_class_gets_the_same(pictures, random):
    labels, mask = pictures
    drawn = PixelSampler(kind="dynamic").draw(labels, mask, rays=48, generator=random)
    of_first = labels[0].reshape(-1)[drawn.pixel[drawn.slot == 0]]
    count = np.bincount(of_first, minlength=SEMANTIC_CLASSES)
    assert count[[BACKGROUND, SKIN, LIP]].tolist() == [8, 8, 8]


def test_shares_follow_the_losses(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="dynamic")
    sampler.losses[[BACKGROUND, SKIN, LIP]] = [1.0, 1.0, 8.0]
    drawn = sampler.draw(labels, mask, rays=20, generator=random)
    count = np.bincount(labels[0].reshape(-1)[drawn.pixel[drawn.slot == 0]])
    assert count[[BACKGROUND, SKIN, LIP]].tolist() == [1, 1, 8]


def test_uniform_sampling_ignores_the_losses(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="uniform")
    sampler.losses[LIP] = 1e6
    drawn = sampler.draw(labels[:1], mask[:1], rays=5000, generator=random)
    lips = (labels[0].reshape(-1)[drawn.pixel] == LIP).mean()
    # 8 of 18 x 18 pixels; the deviation of 5000 draws is 0.0022.
    assert lips == pytest.approx(8 / 324, abs=4 * 0.0022)


def test_a_part_stays_uniform_if_asked(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="dynamic", uniform_share=0.5)
    sampler.losses[:] = 0.0
    sampler.losses[LIP] = 1.0
    drawn = sampler.draw(labels[:1], mask[:1], rays=4000, generator=random)
    lips = (labels[0].reshape(-1)[drawn.pixel] == LIP).mean()
    dynamic = 1 - 2 * FLOOR_SHARE
    assert lips == pytest.approx(0.5 * dynamic + 0.5 * 8 / 324, abs=0.02)


def test_a_frame_without_a_person_gives_nothing(pictures, random):
    labels, mask = pictures
    labels[1], mask[1] = BACKGROUND, 0
    drawn = PixelSampler(kind="dynamic").draw(labels, mask, rays=100, generator=random)
    assert drawn.slot.tolist() == [0] * 50


def test_labels_far_from_the_mask_are_drawn_all_the_same(pictures, random):
    labels, mask = pictures
    mask[:] = 0
    drawn = PixelSampler(kind="dynamic").draw(labels, mask, rays=500, generator=random)
    assert BACKGROUND not in labels.reshape(2, -1)[drawn.slot, drawn.pixel]


def test_all_of_the_background_can_be_learned(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="uniform", background="all")
    drawn = sampler.draw(labels[:1], mask[:1], rays=10_000, generator=random)
    # 10 000 draws leave out fewer than one in a thousand of 1200 pixels.
    assert len(np.unique(drawn.pixel)) > 0.99 * 1200


def test_a_frame_without_a_person_shows_background_if_all_of_it_is_available(pictures, random):
    labels, mask = pictures
    labels[1], mask[1] = BACKGROUND, 0
    sampler = PixelSampler(kind="dynamic", background="all")
    drawn = sampler.draw(labels, mask, rays=100, generator=random)
    assert np.bincount(drawn.slot).tolist() == [50, 50]


def test_as_the_chance_of_a_pixel_losses_count_by_area(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="dynamic", unit="pixel", background="all")
    sampler.losses[:] = 0.0
    sampler.losses[[BACKGROUND, SKIN, LIP]] = [1.0, 9.1, 46.0]
    sampler.draw(labels[:1], mask[:1], rays=240, generator=random)
    # 1100 pixels of background, 92 of skin and 8 of lips: 1100, 837.2 and 368 of 2305.2, but no
    # more rays than pixels, and what is over goes to the others: lips 8, skin 92.
    assert sampler.last_rays[[BACKGROUND, SKIN, LIP]].tolist() == [140, 92, 8]
    sampler.losses[[BACKGROUND, SKIN, LIP]] = [1.0, 10.0, 10.0]
    sampler.draw(labels[:1], mask[:1], rays=21, generator=random)
    # 1100, 920 and 80 of 2100.
    assert sampler.last_rays[[BACKGROUND, SKIN, LIP]].tolist() == [11, 9, 1]


def test_a_pixels_chance_is_at_first_the_same_everywhere(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="dynamic", unit="pixel")
    sampler.draw(labels[1:], mask[1:], rays=98, generator=random)
    # 200 pixels of torso; a margin of 4 px on three sides makes 192 of background.
    assert sampler.last_rays[[BACKGROUND, TORSO]].tolist() == [48, 50]


def test_as_the_chance_of_a_pixel_equal_losses_leave_no_class_a_floor(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="dynamic", unit="pixel", background="all")
    sampler.draw(labels[:1], mask[:1], rays=300, generator=random)
    # 1100, 92 and 8 pixels of 1200; a floor would give the lips 6.
    assert sampler.last_rays[[BACKGROUND, SKIN, LIP]].tolist() == [275, 23, 2]


def rectangle_shares(labels, mask, rectangle, random, **settings):
    """Draw 100 rays of a frame; return how many are in a rectangle."""
    # The uniform share is for dynamic sampling only.
    sampler = PixelSampler(kind="face-rectangle", uniform_share=0.5, **settings)
    x0, y0, x1, y1 = rectangle
    drawn = sampler.draw(
        labels[:1], mask[:1], rays=100, generator=random, rectangles=np.array([rectangle])
    )
    row, column = np.divmod(drawn.pixel, 40)
    assert len(row) == 100
    return ((x0 <= column) & (column < x1) & (y0 <= row) & (row < y1)).sum()


@pytest.mark.parametrize("background", ["near", "all"])
def test_most_rays_are_in_the_rectangle_around_the_face(pictures, random, background):
    # Wider than high: transposed, as in AD-NeRF, it would hold other pixels.
    inside = rectangle_shares(*pictures, (3, 6, 33, 15), random, background=background)
    assert inside == 100 * FACE_SHARE


def test_a_rectangle_that_shows_nobody_hands_its_rays_on(pictures, random):
    assert rectangle_shares(*pictures, (30, 25, 40, 30), random) == 0


def test_a_rectangle_that_holds_all_keeps_all(pictures, random):
    assert rectangle_shares(*pictures, (0, 0, 40, 30), random) == 100


def test_in_the_rectangle_each_pixel_has_the_same_chance(pictures, random):
    labels, mask = pictures
    sampler = PixelSampler(kind="face-rectangle", background="all")
    sampler.losses[LIP] = 1e6
    rectangles = np.array([[0, 0, 20, 30]])
    drawn = sampler.draw(labels[:1], mask[:1], rays=500, generator=random, rectangles=rectangles)
    lips = (labels[0].reshape(-1)[drawn.pixel] == LIP).sum()
    # 475 draws, 8 of 600 pixels: 6.3 on average with a deviation of 2.5.
    assert lips <= 6.3 + 4 * 2.5


@pytest.mark.parametrize(
    ("kind", "rays"), [("dynamic", 64), ("uniform", 65), ("face-rectangle", 66)]
)
def test_a_sampler_tells_the_rays_of_each_class_in_its_last_draw(pictures, random, kind, rays):
    labels, mask = pictures
    sampler = PixelSampler(kind=kind, uniform_share=0.5)
    assert sampler.last_rays.tolist() == [0] * SEMANTIC_CLASSES
    rectangles = np.array([[5, 5, 15, 15], [10, 20, 30, 30]])
    for _ in range(2):
        drawn = sampler.draw(labels, mask, rays=rays, generator=random, rectangles=rectangles)
    of_rays = labels.reshape(2, -1)[drawn.slot, drawn.pixel].tolist()
    assert sampler.last_rays.tolist() == [of_rays.count(k) for k in range(SEMANTIC_CLASSES)]
    assert sampler.last_rays.dtype == np.int64
    assert sampler.last_rays.sum() == rays


def learn(sampler, *steps):
    """Tell a sampler of steps, each a list of (class, loss)."""
    for step in steps:
        labels, losses = zip(*step, strict=True) if step else ((), ())
        sampler.update(np.array(labels, np.uint8), np.array(losses, np.float32))


def test_losses_are_the_means_over_the_rays_of_a_period():
    sampler = PixelSampler(kind="dynamic", period=2)
    learn(sampler, [(LIP, 0.1), (LIP, 0.3), (SKIN, 0.5)])
    assert (sampler.losses == 1.0).all()
    learn(sampler, [(LIP, 0.8)])
    assert sampler.losses[[LIP, SKIN]] == pytest.approx([0.4, 0.5])


def test_a_period_forgets_the_one_before():
    sampler = PixelSampler(kind="dynamic", period=2)
    learn(sampler, [(LIP, 9.0)], [(LIP, 7.0)], [(LIP, 0.1)])
    assert sampler.losses[LIP] == pytest.approx(8.0)
    learn(sampler, [(LIP, 0.2)])
    assert sampler.losses[LIP] == pytest.approx(0.15)


def test_a_class_that_a_period_did_not_show_keeps_its_loss():
    sampler = PixelSampler(kind="dynamic", period=1)
    learn(sampler, [(LIP, 0.25), (SKIN, 0.5)], [(SKIN, 1.5)])
    assert sampler.losses[[LIP, SKIN]] == pytest.approx([0.25, 1.5])


def test_a_class_that_was_never_shown_counts_as_the_mean_of_the_others():
    sampler = PixelSampler(kind="dynamic", period=1)
    learn(sampler, [(LIP, 0.25), (SKIN, 0.75)])
    assert sampler.losses[TORSO] == pytest.approx(0.5)
    learn(sampler, [(SKIN, 1.75)])
    assert sampler.losses[TORSO] == pytest.approx(1.0)


def test_a_period_without_any_ray_changes_nothing():
    sampler = PixelSampler(kind="dynamic", period=1)
    learn(sampler, [])
    assert (sampler.losses == 1.0).all()


def test_a_restored_sampler_goes_on_as_if_nothing_had_happened():
    first, second = (PixelSampler(kind="dynamic", period=2) for _ in range(2))
    learn(first, [(LIP, 0.1)], [(SKIN, 0.3)], [(TORSO, 0.7), (SKIN, 1 / 3)])
    second.load_state(json.loads(json.dumps(first.state())))
    for sampler in (first, second):
        learn(sampler, [(SKIN, 0.2)])
    assert first.losses.tolist() == second.losses.tolist()
    # Lips were seen in the first period only, skin in both.
    assert second.losses[[LIP, SKIN, TORSO]] == pytest.approx([0.1, 4 / 15, 0.7])


@pytest.mark.refuses
def test_a_state_of_other_classes_is_refused():
    state = PixelSampler(kind="dynamic").state()
    state["losses"] = [1.0, 1.0]
    with pytest.raises(ValueError, match="the state is of 2 classes; expected 11"):
        PixelSampler(kind="dynamic").load_state(state)


@pytest.mark.refuses
def test_a_period_without_steps_is_refused():
    with pytest.raises(ValueError, match="period is 0; expected at least 1"):
        PixelSampler(kind="dynamic", period=0)


@pytest.mark.refuses
def test_a_rectangle_that_is_needed_and_not_given_is_refused(pictures, random):
    labels, mask = pictures
    with pytest.raises(ValueError, match="no rectangles are given; expected one for each frame"):
        PixelSampler(kind="face-rectangle").draw(labels, mask, rays=10, generator=random)


@pytest.mark.refuses
def test_a_label_that_is_no_class_is_refused(pictures, random):
    labels, mask = pictures
    labels[1, 0, 0] = 200
    with pytest.raises(ValueError, match="labels hold the value 200; expected 0 to 10"):
        PixelSampler(kind="dynamic").draw(labels, mask, rays=10, generator=random)
