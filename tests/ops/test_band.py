"""Rays around a surface: against plain arithmetic, each implementation, and finite differences."""

import math

import pytest
import torch

import oracles
from sspnerf.ops.band import (
    band_points,
    hit_surface,
    place_rays,
    reference_band_points,
    reference_hit_surface,
    reference_place_rays,
)

EXTENT, NECK = 20.0, -3.0
NECKED = {"extent": EXTENT, "neck_height": torch.tensor(NECK), "neck_softness": 1.5}
RAYS = [0, 1, 33, 1000]


def hills(generator, nodes=17):
    """A surface that rises and falls by some cm, smoothly."""
    coarse = torch.randn(1, 1, 4, 4, generator=generator)
    return 2 * torch.nn.functional.interpolate(coarse, nodes, mode="bicubic")[0, 0]


def random_rays(generator, rays, dtype=torch.float32):
    """Starts 60 cm in front of the surface, directions that also miss it."""
    origin = torch.randn(rays, 3, generator=generator, dtype=dtype)
    origin = origin + torch.tensor([0.0, 0.0, 60.0], dtype=dtype)
    aside = 0.25 * torch.randn(rays, 2, generator=generator, dtype=dtype)
    ahead = torch.cat((aside, -torch.ones(rays, 1, dtype=dtype)), dim=1)
    return origin, torch.nn.functional.normalize(ahead, dim=1)


def two_bones(generator, rays, dtype=torch.float32):
    return *random_rays(generator, rays, dtype), *random_rays(generator, rays, dtype)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def place_by_hand(surface, head, torso):
    """Where one ray meets the surface, in plain numbers; bones are (origin, direction)."""
    met = oracles.walk_to_surface(surface, *head, EXTENT)
    as_torso = oracles.walk_to_surface(surface, *torso, EXTENT)
    y = torso[0][1] + as_torso * torso[1][1]
    distance = met + sigmoid((NECK - y) / 1.5) * (as_torso - met)
    (x, y), (torso_x, torso_y) = (
        [o + distance * d for o, d in zip(origin[:2], direction[:2], strict=True)]
        for origin, direction in (head, torso)
    )
    weight = sigmoid((NECK - torso_y) / 1.5)
    return distance, (x + weight * (torso_x - x), y + weight * (torso_y - y))


def test_a_flat_surface_is_met_exactly(backend):
    origin = torch.tensor([[0.0, 0.0, 60.0], [1.0, -2.0, 50.0]])
    direction = torch.tensor([[0.0, 0.0, -1.0], [0.6, 0.0, -0.8]])
    found = hit_surface(torch.full((9, 9), 3.0), origin, direction, extent=30.0)
    torch.testing.assert_close(found, torch.tensor([57.0, 58.75]))


def test_rays_meet_the_surface_where_plain_steps_lead(backend, generator):
    surface, (origin, direction) = hills(generator), random_rays(generator, 12)
    found = hit_surface(surface, origin, direction, extent=EXTENT)
    expected = [
        oracles.walk_to_surface(surface.tolist(), o, d, EXTENT)
        for o, d in zip(origin.tolist(), direction.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_rays_are_placed_where_plain_steps_lead(backend, generator):
    surface, rays = hills(generator), two_bones(generator, 12)
    found = place_rays(surface, *rays, **NECKED)
    origin, direction, torso_origin, torso_direction = (tensor.tolist() for tensor in rays)
    expected = [
        place_by_hand(
            surface.tolist(),
            (origin[i], direction[i]),
            (torso_origin[i], torso_direction[i]),
        )
        for i in range(12)
    ]
    torch.testing.assert_close(found.distance, torch.tensor([each[0] for each in expected]))
    torch.testing.assert_close(
        found.canonical, torch.tensor([each[1] for each in expected]), rtol=1e-5, atol=1e-4
    )


def test_above_the_neck_counts_the_head_and_below_it_the_torso(backend):
    # Both look at the same point of a plane, the torso from 7 cm nearer.
    origin = torch.tensor([[0.0, 15.0, 50.0], [0.0, -15.0, 50.0]])
    direction = torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3)
    nearer = origin + torch.tensor([1.0, 0.0, -7.0])
    found = place_rays(torch.zeros(5, 5), origin, direction, nearer, direction, **NECKED)
    torch.testing.assert_close(found.distance, torch.tensor([50.0, 43.0]), rtol=0, atol=0.01)
    expected = torch.tensor([[0.0, 15.0], [1.0, -15.0]])
    torch.testing.assert_close(found.canonical, expected, rtol=0, atol=0.01)


def test_without_a_neck_all_is_head(backend, generator):
    surface, rays = hills(generator), two_bones(generator, 20)
    found = place_rays(surface, *rays, **NECKED | {"neck_height": None})
    distance = hit_surface(surface, *rays[:2], extent=EXTENT)
    assert torch.equal(found.distance, distance)
    point = rays[0] + distance[:, None] * rays[1]
    torch.testing.assert_close(found.canonical, point[:, :2])


@pytest.mark.parametrize("rays", RAYS)
def test_both_implementations_place_alike(generator, monkeypatch, rays):
    monkeypatch.setenv("SSPNERF_BACKEND", "numba")
    surface, some = hills(generator, 129), two_bones(generator, rays)
    expected = reference_hit_surface(surface, *some[:2], extent=EXTENT)
    torch.testing.assert_close(hit_surface(surface, *some[:2], extent=EXTENT), expected)
    found = place_rays(surface, *some, **NECKED)
    expected = reference_place_rays(surface, *some, **NECKED)
    torch.testing.assert_close(found.distance, expected.distance)
    # 60 cm in float32 is known to 4e-6 cm; the walk through steep hills makes 2e-5 of it.
    torch.testing.assert_close(found.canonical, expected.canonical, rtol=1e-5, atol=1e-4)


def test_rays_that_are_no_number_read_our_own_memory(backend, generator):
    direction = torch.tensor([[0.0, 0.0, -1.0]]).expand(40, 3)
    origin = torch.zeros(40, 3)
    origin[:, 0] = torch.tensor([math.nan, -math.inf, -1e30, math.inf]).repeat(10)
    surface = torch.arange(9.0).view(3, 3)
    # The middle row holds 3, 4, 5; the first row 0, 1, 2.
    found = hit_surface(surface, origin, direction, extent=1.0)
    torch.testing.assert_close(found, torch.tensor([-3.0, -3.0, -3.0, -5.0]).repeat(10))


def test_a_ray_along_the_surface_gets_a_finite_distance(backend):
    origin = torch.tensor([[0.0, 0.0, 5.0], [0.0, 0.0, 5.0]])
    direction = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    found = hit_surface(torch.zeros(9, 9), origin, direction, extent=10.0)
    torch.testing.assert_close(found, torch.tensor([25.0, 25.0]))


def test_placing_carries_no_gradient(backend, generator):
    rays = [tensor.requires_grad_() for tensor in two_bones(generator, 3)]
    found = place_rays(hills(generator), *rays, **NECKED)
    assert not found.distance.requires_grad
    assert not found.canonical.requires_grad


def test_a_band_is_cut_into_equal_samples(backend):
    ray = torch.tensor([[1.0, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    torso = torch.tensor([[0.0, 2.0, 9.0]]), torch.tensor([[0.0, 0.6, -0.8]])
    found = band_points(torch.tensor([5.0]), *ray, *torso, front=1.0, back=3.0, samples=2)
    assert torch.equal(found.t_edges, torch.tensor([[4.0, 6.0, 8.0]]))
    assert torch.equal(found.head, torch.tensor([[[1.0, 0.0, 4.0], [1.0, 0.0, 2.0]]]))
    torch.testing.assert_close(found.torso, torch.tensor([[[0.0, 5.0, 5.0], [0.0, 6.2, 3.4]]]))


def test_a_shift_moves_samples_by_that_share_of_one(backend, generator):
    rays, distance = two_bones(generator, 4), torch.tensor([50.0, 51.0, 52.0, 53.0])
    options = {"front": 1.0, "back": 3.0, "samples": 8}
    shift = torch.tensor([-0.5, 0.0, 0.25, 0.4])
    still = band_points(distance, *rays, **options)
    moved = band_points(distance, *rays, **options, shift=shift)
    expected = (0.5 * shift)[:, None].expand(4, 9)
    torch.testing.assert_close(moved.t_edges - still.t_edges, expected, rtol=0, atol=1e-5)


def test_each_ray_has_its_own_band(backend, generator):
    rays, distance = two_bones(generator, 2), torch.tensor([50.0, 60.0])
    front, back = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 6.0])
    found = band_points(distance, *rays, front=front, back=back, samples=2)
    expected = torch.tensor([[49.0, 50.0, 51.0], [58.0, 62.0, 66.0]])
    torch.testing.assert_close(found.t_edges, expected)


@pytest.mark.parametrize("rays", RAYS)
@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("per_ray", [False, True])
def test_both_implementations_agree_in_points_and_gradients(
    generator, monkeypatch, rays, samples, per_ray
):
    monkeypatch.setenv("SSPNERF_BACKEND", "numba")
    some = [tensor.requires_grad_() for tensor in two_bones(generator, rays)]
    distance = 60 + torch.randn(rays, generator=generator)
    options = {"front": 2.0, "back": 3.0, "samples": samples}
    if per_ray:
        options["front"] = torch.rand(rays, generator=generator) + 1
        options["shift"] = torch.rand(rays, generator=generator) - 0.5
    found = band_points(distance, *some, **options)
    expected = reference_band_points(distance, *some, **options)
    # 60 cm in float32 is known to 4e-6 cm.
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    cotangents = [torch.randn(found.head.shape, generator=generator) for _ in range(2)]
    ours = torch.autograd.grad(found[1:], some, cotangents)
    theirs = torch.autograd.grad(expected[1:], some, cotangents)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=2e-4)
    assert not found.t_edges.requires_grad


def test_derivatives_of_the_reference_points_match_finite_differences(generator):
    some = [tensor.requires_grad_() for tensor in two_bones(generator, 2, torch.float64)]
    distance = torch.tensor([4.0, 5.0], dtype=torch.float64)

    def points(*rays):
        return reference_band_points(distance, *rays, front=1.0, back=2.0, samples=3)[1:]

    assert torch.autograd.gradcheck(points, some)


def test_a_gradient_of_the_torso_alone_suffices(backend, generator):
    origin, direction = random_rays(generator, 3)
    torso = torch.zeros(3, 3, requires_grad=True)
    found = band_points(
        torch.full((3,), 5.0), origin, direction, torso, direction, front=1.0, back=1.0, samples=4
    )
    (found.torso.sum() + found.head.sum()).backward()
    assert torch.equal(torso.grad, torch.full((3, 3), 4.0))


def test_rays_that_are_not_contiguous_are_read_right(backend, generator):
    rays = two_bones(generator, 5)
    spread = [torch.stack((tensor, tensor), dim=-1)[..., 0] for tensor in rays]
    assert not spread[0].is_contiguous()
    surface = hills(generator)
    found, expected = (place_rays(surface, *each, **NECKED) for each in (spread, rays))
    assert torch.equal(found.distance, expected.distance)
    options = {"front": 1.0, "back": 1.0, "samples": 2}
    found, expected = (band_points(expected.distance, *e, **options) for e in (spread, rays))
    assert torch.equal(found.torso, expected.torso)


@pytest.mark.refuses
def test_what_does_not_fit_is_refused(backend, generator):
    rays = two_bones(generator, 2)
    with pytest.raises(ValueError, match=r"surface has shape \(1, 1\); expected \(nodes, nodes\)"):
        hit_surface(torch.zeros(1, 1), *rays[:2], extent=1.0)
    with pytest.raises(ValueError, match=r"rays have shape \(1, 3\); expected \(2, 3\)"):
        hit_surface(torch.zeros(2, 2), rays[0], rays[1][:1], extent=1.0)
    with pytest.raises(ValueError, match=r"distance has shape \(3,\); expected \(2,\)"):
        band_points(torch.ones(3), *rays, front=1.0, back=1.0, samples=1)
    with pytest.raises(ValueError, match=r"shift has shape \(1,\); expected \(2,\)"):
        band_points(torch.ones(2), *rays, front=1.0, back=1.0, samples=1, shift=torch.ones(1))
    with pytest.raises(ValueError, match="samples is 0; expected at least 1"):
        band_points(torch.ones(2), *rays, front=1.0, back=1.0, samples=0)
