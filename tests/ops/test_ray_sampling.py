"""Where rays ask: equal cuts, a shift that stays in bounds, samples where the weight is."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oracles
from sspnerf.ops.ray_sampling import (
    WEIGHT_FLOOR,
    importance_samples,
    merge_edges,
    midpoints,
    stratified_edges,
)

NEAR, FAR = torch.tensor([1.0, 10.0]), torch.tensor([3.0, 14.0])


def test_fixed_edges_go_from_near_to_far_in_equal_steps():
    edges = stratified_edges(NEAR, FAR, samples=4)
    expected = torch.tensor([[1.0, 1.5, 2.0, 2.5, 3.0], [10.0, 11.0, 12.0, 13.0, 14.0]])
    torch.testing.assert_close(edges, expected)


@given(st.floats(0, 100), st.floats(0.01, 100), st.integers(1, 50))
def test_fixed_edges_increase_and_end_where_asked(near, length, samples):
    near = torch.tensor(near, dtype=torch.float64)
    edges = stratified_edges(near, near + length, samples=samples)
    assert len(edges) == samples + 1
    assert (edges.diff() > 0).all()
    torch.testing.assert_close(edges[0], near)
    torch.testing.assert_close(edges[-1], near + length)


def test_a_random_shift_moves_all_edges_of_a_ray_together(generator):
    shift = stratified_edges(NEAR, FAR, samples=4, generator=generator) - stratified_edges(
        NEAR, FAR, samples=4
    )
    torch.testing.assert_close(shift, shift[:, :1].expand(2, 5))
    assert shift[0, 0] / 0.5 != pytest.approx(shift[1, 0] / 1.0)


def test_random_shifts_reach_half_a_sample_either_way_and_no_further(generator):
    near, far = torch.zeros(2000), torch.full((2000,), 8.0)
    start = stratified_edges(near, far, samples=4, generator=generator)[:, 0]
    # 2000 draws leave at most 0.01 at either end with probability 1 - 5e-5.
    assert -1 <= start.min() < -0.98
    assert 0.98 < start.max() <= 1
    # Uniform on [-1, 1]: the mean's standard deviation is 0.58 / sqrt(2000) = 0.013.
    assert abs(start.mean()) < 4 * 0.013


def test_the_same_generator_state_gives_the_same_edges():
    first, second = (
        stratified_edges(NEAR, FAR, samples=3, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_leading_axes_are_free(generator, batch):
    near = torch.zeros(batch)
    assert stratified_edges(near, near + 1, samples=2).shape == (*batch, 3)
    assert stratified_edges(near, near + 1, samples=2, generator=generator).shape == (*batch, 3)


def test_midpoints_lie_between_their_edges():
    torch.testing.assert_close(
        midpoints(torch.tensor([[0.0, 1.0, 5.0], [2.0, 2.0, 3.0]])),
        torch.tensor([[0.5, 3.0], [2.0, 2.5]]),
    )


@pytest.mark.refuses
@pytest.mark.parametrize("samples", [0, -1])
def test_no_samples_are_refused(samples):
    with pytest.raises(ValueError, match=f"samples is {samples}; expected at least 1"):
        stratified_edges(NEAR, FAR, samples=samples)


@st.composite
def weighted_rays(draw):
    """Edges and weights of one ray; intervals and weights may be zero."""
    weights = draw(st.lists(st.floats(0, 1), min_size=1, max_size=12))
    steps = draw(st.lists(st.floats(0, 3), min_size=len(weights), max_size=len(weights)))
    edges = list(itertools.accumulate(steps, initial=0.5))
    return torch.tensor(edges, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)


def test_importance_samples_by_hand():
    # Three quarters of the weight lie in [1, 2], one in [2, 6], nothing before 1 (but the floor).
    samples = importance_samples(
        torch.tensor([0.0, 1.0, 2.0, 6.0]), torch.tensor([0.0, 3e5, 1e5]), samples=4
    )
    # Quantiles 1/8, 3/8, 5/8, 7/8: a sixth, a half, five sixths of [1, 2], and half of [2, 6].
    torch.testing.assert_close(samples, torch.tensor([1 + 1 / 6, 1.5, 1 + 5 / 6, 4.0]))


@given(weighted_rays(), st.integers(1, 20))
def test_importance_samples_match_the_oracle(ray, samples):
    t_edges, weights = ray
    quantiles = [(i + 0.5) / samples for i in range(samples)]
    expected = oracles.importance_samples(
        t_edges.tolist(), weights.tolist(), quantiles, WEIGHT_FLOOR
    )
    torch.testing.assert_close(
        importance_samples(t_edges, weights, samples=samples),
        torch.tensor(expected, dtype=torch.float64),
    )


@given(weighted_rays(), st.integers(1, 20), st.booleans())
def test_importance_samples_do_not_decrease_nor_leave_the_ray(ray, samples, jittered):
    t_edges, weights = (part.float() for part in ray)
    source = torch.Generator().manual_seed(samples) if jittered else None
    t = importance_samples(t_edges, weights, samples=samples, generator=source)
    assert (t.diff() >= 0).all()
    assert t_edges[0] <= t[0]
    assert t[-1] <= t_edges[-1]


def test_all_samples_fall_where_the_weight_is(generator):
    t_edges = torch.arange(9.0).expand(50, 9)
    where = torch.randint(8, (50, 1), generator=generator)
    weights = torch.zeros(50, 8).scatter(1, where, 1.0)
    # The floor draws at most 8e-5 of the samples elsewhere: less than half of one in 64.
    t = importance_samples(t_edges, weights, samples=64)
    assert (t >= where).all()
    assert (t <= where + 1).all()


def test_a_ray_that_met_nothing_is_asked_evenly():
    t = importance_samples(torch.tensor([1.0, 1.5, 4.0, 5.0]), torch.zeros(3), samples=6)
    # Each interval gets a third of the samples, whatever its length.
    torch.testing.assert_close(t, torch.tensor([1.125, 1.375, 2.125, 3.375, 4.25, 4.75]))


def test_even_weights_on_even_edges_give_the_middles_of_equal_parts():
    t_edges = torch.linspace(2, 10, 5)
    t = importance_samples(t_edges, torch.zeros(4), samples=8)
    torch.testing.assert_close(t, midpoints(torch.linspace(2, 10, 9)))


def test_the_histogram_of_many_samples_converges_to_the_weights(generator):
    t_edges, weights = torch.tensor([0.0, 1.0, 3.0, 3.5, 7.0]), torch.tensor([0.1, 0.4, 0.0, 0.5])
    count = 4000
    for source in (None, generator):
        t = importance_samples(t_edges, weights, samples=count, generator=source)
        share = torch.histogram(t, t_edges).hist / count
        # One stratum at either end of an interval may fall to its neighbour; the floor adds 4e-5.
        torch.testing.assert_close(share, weights, rtol=0, atol=2 / count + 4e-5)


def test_each_jittered_sample_stays_in_its_stratum_and_reaches_all_of_it(generator):
    t_edges, weights = torch.tensor([0.0, 4.0]).expand(2000, 2), torch.ones(2000, 1)
    t = importance_samples(t_edges, weights, samples=4, generator=generator)
    within = t - torch.arange(4.0)
    assert (within >= 0).all()
    assert (within <= 1).all()
    # 2000 draws leave the first or last hundredth empty with probability 2e-9.
    assert (within.min(dim=0).values < 0.01).all()
    assert (within.max(dim=0).values > 0.99).all()
    # The places in two strata are independent: the correlation's deviation is 1 / sqrt(2000).
    assert torch.corrcoef(within.T)[0, 1].abs() < 4 * 2000**-0.5


@pytest.mark.parametrize("batch", [(), (0,), (4,), (2, 3)])
@pytest.mark.parametrize("intervals", [1, 5])
def test_each_ray_is_sampled_on_its_own(generator, batch, intervals):
    t_edges = torch.rand(*batch, intervals + 1, generator=generator).sort(-1).values
    weights = torch.rand(*batch, intervals, generator=generator)
    t = importance_samples(t_edges, weights, samples=3)
    assert t.shape == (*batch, 3)
    jittered = importance_samples(t_edges, weights, samples=3, generator=generator)
    assert jittered.shape == (*batch, 3)
    for ray in itertools.product(*map(range, batch)):
        torch.testing.assert_close(
            t[ray], importance_samples(t_edges[ray], weights[ray], samples=3)
        )


def test_huge_weights_leave_the_samples_finite(generator):
    t_edges, weights = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1e30, 0.0, 0.0])
    for source in (None, generator):
        t = importance_samples(t_edges, weights, samples=16, generator=source)
        assert t.isfinite().all()
        assert (t <= 1).all()


def test_a_quantile_that_rounds_to_one_stays_where_the_weight_is():
    # In float16 2047.5 / 2048 is 1, and the floor is nothing beside the weight.
    t_edges = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float16)
    weights = torch.tensor([6e4, 0.0], dtype=torch.float16)
    t = importance_samples(t_edges, weights, samples=2048)
    assert t.isfinite().all()
    assert (t <= 1).all()


def test_weights_that_are_not_numbers_are_passed_on_without_a_crash():
    t = importance_samples(torch.tensor([0.0, 1.0, 2.0]), torch.full((2,), torch.nan), samples=3)
    assert t.isnan().all()


def test_importance_samples_carry_no_gradient():
    t_edges = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    weights = torch.tensor([0.3, 0.7], requires_grad=True)
    assert not importance_samples(t_edges, weights, samples=2).requires_grad


def test_merged_edges_are_all_of_both_in_order(generator):
    old = torch.rand(2, 3, 5, generator=generator).sort(-1).values
    new = torch.rand(2, 3, 4, generator=generator)
    merged = merge_edges(old, new)
    for ray in itertools.product(range(2), range(3)):
        assert merged[ray].tolist() == sorted(old[ray].tolist() + new[ray].tolist())


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_nothing_new_leaves_the_edges_as_they_are(batch):
    edges = torch.linspace(0, 1, 4).expand(*batch, 4)
    assert torch.equal(merge_edges(edges, torch.zeros(*batch, 0)), edges)


@pytest.mark.refuses
def test_no_importance_samples_are_refused():
    with pytest.raises(ValueError, match="samples is 0; expected at least 1"):
        importance_samples(torch.zeros(3), torch.zeros(2), samples=0)


@pytest.mark.refuses
@pytest.mark.parametrize(("edges", "weights"), [((4,), (4,)), ((2, 4), (3,)), ((1,), (0,))])
def test_weights_that_do_not_fit_the_edges_are_refused(edges, weights):
    with pytest.raises(ValueError, match="expected one weight per interval, and at least one"):
        importance_samples(torch.zeros(edges), torch.zeros(weights), samples=2)
