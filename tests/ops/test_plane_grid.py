"""Plane grids against an oracle, each implementation against the other, and their derivatives."""

import pytest
import torch

import oracles
from sspnerf.ops.plane_grid import lookup_planes, reference_lookup_planes, table_size

LAYOUT = {"resolutions": (2, 5), "features": 3}
BORDERS = [
    [-1.0, -1.0, -1.0],
    [1.0, 1.0, 1.0],
    [-1.0, 0.0, 1.0],
    [0.0, 0.5, -0.5],  # nodes of the finer level
    [1.5, 0.3, -7.0],
    [-1e9, 1e9, 0.1],
    [1.0, 0.2, -0.3],
]


def random_table(generator, layout=LAYOUT, dtype=torch.float32):
    size = table_size(layout["resolutions"], layout["features"])
    return torch.randn(size, generator=generator, dtype=dtype)


def random_positions(generator, points):
    """Inside and up to a fifth of the side outside."""
    return torch.rand(points, 3, generator=generator) * 2.8 - 1.4


def gradients(function, table, positions, cotangent, layout=LAYOUT):
    table, positions = table.clone().requires_grad_(), positions.clone().requires_grad_()
    return torch.autograd.grad(function(table, positions, **layout), (table, positions), cotangent)


def test_a_table_holds_three_planes_per_level():
    assert table_size((2, 3), 4) == 3 * 4 * (2 * 2 + 3 * 3)


def test_planes_follow_the_documented_order(backend):
    table = torch.zeros(table_size((2,), 1))
    # Row 1 of plane xz is z = 1; its column 0 is x = -1.
    table[4 + 2] = 5.0
    found = lookup_planes(
        table, torch.tensor([[-1.0, 0.3, 1.0], [1.0, 0.3, 1.0]]), resolutions=(2,), features=1
    )
    assert torch.equal(found, torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize("where", ["inside and outside", "borders"])
def test_lookup_matches_the_oracle(backend, generator, where):
    table = random_table(generator)
    positions = torch.tensor(BORDERS) if where == "borders" else random_positions(generator, 20)
    found = lookup_planes(table, positions, **LAYOUT)
    expected = [
        oracles.lookup_point(table.tolist(), position, *LAYOUT.values())
        for position in positions.tolist()
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("points", [0, 1, 7, 1000])
def test_both_implementations_agree_in_values_and_gradients(generator, monkeypatch, points):
    monkeypatch.setenv("SSPNERF_BACKEND", "auto")
    layout = {"resolutions": (2, 8, 33), "features": 4}
    table, positions = random_table(generator, layout), random_positions(generator, points)
    found = lookup_planes(table, positions, **layout)
    torch.testing.assert_close(found, reference_lookup_planes(table, positions, **layout))
    cotangent = torch.randn(found.shape, generator=generator)
    ours = gradients(lookup_planes, table, positions, cotangent, layout)
    theirs = gradients(reference_lookup_planes, table, positions, cotangent, layout)
    # A coarse node sums up to a thousand terms of size 1 in another order: 2e-6 at worst here.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)


def test_both_implementations_agree_on_borders(generator, monkeypatch):
    monkeypatch.setenv("SSPNERF_BACKEND", "auto")
    table, positions = random_table(generator), torch.tensor(BORDERS)
    cotangent = torch.randn(len(BORDERS), 18, generator=generator)
    ours = gradients(lookup_planes, table, positions, cotangent)
    theirs = gradients(reference_lookup_planes, table, positions, cotangent)
    torch.testing.assert_close(ours, theirs)


def test_beyond_the_border_the_gradient_is_zero(backend, generator):
    positions = torch.tensor([[1.2, 0.1, -1.2], [1.0, 0.1, -1.0]])
    _, grad = gradients(lookup_planes, random_table(generator), positions, torch.ones(2, 18))
    assert torch.equal(grad[:, [0, 2]], torch.zeros(2, 2))
    assert (grad[:, 1] != 0).all()


def test_derivatives_of_the_reference_match_finite_differences(generator):
    table = random_table(generator, dtype=torch.float64).requires_grad_()
    positions = (torch.rand(4, 3, generator=generator, dtype=torch.float64) * 1.8 - 0.9) * 0.97
    assert torch.autograd.gradcheck(
        lambda t, p: reference_lookup_planes(t, p, **LAYOUT), (table, positions.requires_grad_())
    )


def test_a_position_that_is_no_number_reads_our_own_memory(backend, generator):
    table = random_table(generator)
    positions = torch.tensor([[float("nan")] * 3, [float("inf"), float("-inf"), 0.0]])
    found = lookup_planes(table, positions, **LAYOUT)
    first = lookup_planes(table, torch.full((1, 3), -1.0), **LAYOUT)
    assert torch.equal(found[:1], first)
    grad_table, grad_positions = gradients(lookup_planes, table, positions, torch.ones(2, 18))
    assert grad_table.isfinite().all()
    assert torch.equal(grad_positions[0], torch.zeros(3))


def test_only_the_wanted_gradient_is_computed(backend, generator):
    table = random_table(generator).requires_grad_()
    lookup_planes(table, torch.zeros(2, 3), **LAYOUT).sum().backward()
    # Bilinear weights sum to 1 on each plane of each level, for each feature.
    torch.testing.assert_close(table.grad.sum(), torch.tensor(2.0 * 2 * 3 * 3))


@pytest.mark.refuses
def test_a_table_of_another_size_is_refused(backend):
    with pytest.raises(ValueError, match="table has 3 entries; expected 12"):
        lookup_planes(torch.zeros(3), torch.zeros(1, 3), resolutions=(2,), features=1)


@pytest.mark.refuses
@pytest.mark.parametrize("resolutions", [(), (1,), (4, 1), (0,)])
def test_levels_without_a_cell_are_refused(backend, resolutions):
    table = torch.zeros(table_size(resolutions, 1))
    with pytest.raises(ValueError, match="expected 2 or more nodes each"):
        lookup_planes(table, torch.zeros(1, 3), resolutions=resolutions, features=1)


@pytest.mark.refuses
@pytest.mark.parametrize("shape", [(3,), (4, 2), (1, 4, 3)])
def test_positions_that_are_no_points_are_refused(backend, shape):
    with pytest.raises(ValueError, match=r"expected \(points, 3\)"):
        lookup_planes(torch.zeros(12), torch.zeros(shape), resolutions=(2,), features=1)
