"""Edges of samples: equal cuts, a shift that stays in bounds, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sspnerf.ops.ray_sampling import midpoints, stratified_edges

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
