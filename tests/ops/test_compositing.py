"""Compositing against arithmetic, an oracle, laws of optics, and its own derivatives."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import oracles
from sspnerf.ops.compositing import (
    composite,
    composite_portrait,
    ray_weights,
    reference_composite,
    reference_composite_portrait,
)
from sspnerf.ops.gradients import scale_gradient

LN2 = math.log(2)


@st.composite
def rays(draw):
    """One ray of 1 to 12 samples, in float64."""
    samples = draw(st.integers(1, 12))
    density = draw(st.lists(st.floats(0, 40), min_size=samples, max_size=samples))
    lengths = draw(st.lists(st.floats(0, 3), min_size=samples, max_size=samples))
    edges = list(itertools.accumulate(lengths, initial=draw(st.floats(0, 5))))
    return torch.tensor(density, dtype=torch.float64), torch.tensor(edges, dtype=torch.float64)


def random_rays(generator, *batch, samples=6, channels=4):
    """Density with haze, gaps and walls; edges; values of both signs; float32."""
    density = torch.rand(*batch, samples, generator=generator) * 3
    density = density * (torch.rand(*batch, samples, generator=generator) > 0.3)
    density = density + 200 * (torch.rand(*batch, samples, generator=generator) > 0.9)
    t_edges = torch.rand(*batch, samples + 1, generator=generator).cumsum(-1)
    values = torch.randn(*batch, samples, channels, generator=generator)
    return density, t_edges, values


def gradients(function, density, t_edges, values, cotangents):
    """Derivatives of density and values for given derivatives of sums and transmittance."""
    density = density.clone().requires_grad_()
    values = values.clone().requires_grad_()
    out = function(density, t_edges, values)
    return torch.autograd.grad((out.values, out.transmittance), (density, values), cotangents)


def test_each_half_life_halves_the_light():
    weights = ray_weights(torch.full((3,), LN2), torch.tensor([0.0, 1.0, 2.0, 3.0]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.125]))


@given(rays())
def test_weights_match_the_oracle(ray):
    density, t_edges = ray
    _, _, expected = oracles.composite_ray(density.tolist(), t_edges.tolist(), [])
    torch.testing.assert_close(
        ray_weights(density, t_edges), torch.tensor(expected, dtype=torch.float64)
    )


@given(rays())
def test_what_is_not_absorbed_passes(ray):
    density, t_edges = ray
    passes = torch.exp(-(density * t_edges.diff()).sum())
    torch.testing.assert_close(
        ray_weights(density, t_edges).sum(), 1 - passes, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("wall", [1e2, 1e5, 1e8])
def test_a_wall_does_not_hide_the_haze_in_front_of_it(wall):
    weights = ray_weights(torch.tensor([0.1, wall]), torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(weights, torch.tensor([1 - math.exp(-0.1), math.exp(-0.1)]))


@pytest.mark.parametrize("haze", [1e-6, 1e-4])
def test_thin_haze_absorbs_its_share_in_float32(haze):
    weights = ray_weights(torch.tensor([haze]), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(weights, torch.tensor([-math.expm1(-haze)]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("haze", [1e-6, 1e-4])
def test_a_film_of_thin_haze_keeps_its_share_in_both_implementations(backend, haze):
    out = composite(torch.tensor([haze]), torch.tensor([0.0, 1.0]), torch.ones(1, 1))
    torch.testing.assert_close(out.values, torch.tensor([-math.expm1(-haze)]), rtol=1e-6, atol=0)


@given(rays(), st.data())
def test_cutting_a_sample_in_two_changes_nothing(ray, data):
    density, t_edges = ray
    i = data.draw(st.integers(0, len(density) - 1))
    share = data.draw(st.floats(0, 1))
    cut = torch.lerp(t_edges[i], t_edges[i + 1], share)
    finer = ray_weights(
        torch.cat((density[: i + 1], density[i:])),
        torch.cat((t_edges[: i + 1], cut[None], t_edges[i + 1 :])),
    )
    merged = torch.cat((finer[:i], finer[i : i + 2].sum(0, keepdim=True), finer[i + 2 :]))
    torch.testing.assert_close(merged, ray_weights(density, t_edges))


@pytest.mark.parametrize("batch", [(4,), (2, 3)])
def test_each_ray_is_weighed_alone(generator, batch):
    density, t_edges, _ = random_rays(generator, *batch)
    weights = ray_weights(density, t_edges)
    for ray in itertools.product(*map(range, batch)):
        torch.testing.assert_close(weights[ray], ray_weights(density[ray], t_edges[ray]))


def test_derivatives_of_weights_match_finite_differences():
    density = torch.tensor([[0.2, 0.0, 3.0], [6.0, 0.1, 0.5]], dtype=torch.float64)
    t_edges = torch.tensor([[0.0, 0.4, 0.8, 1.0], [0.5, 0.6, 1.6, 2.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        ray_weights, (density.requires_grad_(), t_edges.requires_grad_())
    )


def test_derivatives_of_the_reference_match_finite_differences(generator):
    density = torch.rand(2, 3, generator=generator, dtype=torch.float64) * 2
    t_edges = torch.rand(2, 4, generator=generator, dtype=torch.float64).cumsum(-1)
    values = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)

    def sums(density, values):
        return reference_composite(density, t_edges, values)[:2]

    assert torch.autograd.gradcheck(sums, (density.requires_grad_(), values.requires_grad_()))


@pytest.mark.parametrize("extreme", [0.0, 1e-30, 1e8])
def test_everything_stays_finite_at_extremes(backend, extreme):
    density = torch.full((3,), extreme, requires_grad=True)
    values = torch.ones(3, 1, requires_grad=True)
    out = composite(density, torch.tensor([0.0, 1.0, 2.0, 3.0]), values)
    (out.values.square().sum() + out.transmittance.square()).backward()
    for tensor in (*out, density.grad, values.grad):
        assert tensor.isfinite().all()


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_composite_matches_the_oracle(backend, generator, batch):
    density, t_edges, values = random_rays(generator, *batch)
    out = composite(density, t_edges, values)
    assert out.values.shape == (*batch, 4)
    assert out.transmittance.shape == batch
    assert out.weights.shape == density.shape
    for ray in itertools.product(*map(range, batch)):
        sums, passes, weights = oracles.composite_ray(
            density[ray].tolist(), t_edges[ray].tolist(), values[ray].tolist()
        )
        torch.testing.assert_close(out.values[ray], torch.tensor(sums))
        torch.testing.assert_close(out.transmittance[ray], torch.tensor(passes))
        torch.testing.assert_close(out.weights[ray], torch.tensor(weights))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,), (1,), (7,), (1000,), (3, 0)])
def test_both_implementations_agree_in_values_and_gradients(generator, monkeypatch, batch):
    monkeypatch.setenv("SSPNERF_BACKEND", "auto")
    density, t_edges, values = random_rays(generator, *batch)
    found = composite(density, t_edges, values)
    expected = reference_composite(density, t_edges, values)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    cotangents = (
        torch.randn(found.values.shape, generator=generator),
        torch.randn(found.transmittance.shape, generator=generator),
    )
    ours = gradients(composite, density, t_edges, values, cotangents)
    # Differences of sums of about 10 terms of size 1: float64 is the truth here, and float32 sums
    # in another order are 2e-6 away from it at worst.
    exact = gradients(
        reference_composite,
        density.double(),
        t_edges.double(),
        values.double(),
        tuple(c.double() for c in cotangents),
    )
    for mine, truth in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, truth.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wall", [1e2, 1e5, 1e8])
def test_a_wall_does_not_hide_the_haze_from_the_gradient(backend, wall):
    density, t_edges = torch.tensor([0.1, wall]), torch.tensor([0.0, 1.0, 2.0])
    values = torch.tensor([[1.0], [0.0]])
    grad, _ = gradients(composite, density, t_edges, values, (torch.ones(1), torch.zeros(())))
    # The sum is 1 - e^-0.1: its derivative is what passes the haze.
    torch.testing.assert_close(grad[0], torch.tensor(math.exp(-0.1)))


def test_a_gradient_of_one_output_alone_suffices(backend):
    density = torch.full((1, 1), LN2, requires_grad=True)
    out = composite(density, torch.tensor([[0.0, 1.0]]), torch.ones(1, 1, 1))
    (grad,) = torch.autograd.grad(out.transmittance.sum(), density)
    torch.testing.assert_close(grad, torch.tensor([[-0.5]]))


def test_weights_and_edges_carry_no_gradient(backend):
    density = torch.ones(2, requires_grad=True)
    t_edges = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    out = composite(density, t_edges, torch.ones(2, 1))
    assert not out.weights.requires_grad
    out.values.sum().backward()
    assert t_edges.grad is None


def test_a_view_that_is_not_contiguous_is_read_right(backend, generator):
    density, t_edges, values = random_rays(generator, 5)
    turned = values.transpose(0, 1).contiguous().transpose(0, 1)
    wide = torch.stack((density, density), dim=-1)[..., 0]
    torch.testing.assert_close(
        composite(wide, t_edges, turned).values, composite(density, t_edges, values).values
    )


def test_no_samples_let_all_light_pass(backend):
    out = composite(torch.zeros(2, 0), torch.ones(2, 1), torch.zeros(2, 0, 3))
    assert torch.equal(out.transmittance, torch.ones(2))
    assert torch.equal(out.values, torch.zeros(2, 3))


@pytest.mark.refuses
@pytest.mark.parametrize("function", [ray_weights, lambda d, t: composite(d, t, d[..., None])])
def test_edges_that_do_not_fit_are_refused(backend, function):
    with pytest.raises(ValueError, match="3 edges for 3 samples; expected 4"):
        function(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"shape \(4,\) for a density of \(2, 3\)"):
        function(torch.ones(2, 3), torch.ones(4))


@pytest.mark.refuses
def test_values_that_do_not_fit_are_refused(backend):
    with pytest.raises(ValueError, match=r"\(2, 2, 1\); expected \(2, 3, 'channels'\)"):
        composite(torch.ones(2, 3), torch.ones(2, 4), torch.ones(2, 2, 1))


PORTRAITS = [(0, 8), (1, 1), (33, 1), (33, 8), (1000, 5)]


def random_portraits(generator, rays, samples, classes=11):
    """Density, edges, colors and logits of some rays, float32."""
    density, t_edges, color = random_rays(generator, rays, samples=samples, channels=3)
    logits = 3 * torch.randn(rays, samples, classes, generator=generator)
    return density, t_edges, color.sigmoid(), logits


def portrait_gradients(function, tensors, cotangents, **options):
    """Derivatives of density, color and logits for those of color, logits and transmittance."""
    density, t_edges, color, logits = tensors
    leaves = [tensor.clone().requires_grad_() for tensor in (density, color, logits)]
    out = function(leaves[0], t_edges, *leaves[1:], **options)
    return torch.autograd.grad(out[:3], leaves, cotangents)


def two_walks(density, t_edges, color, logits, *, semantic_share):
    """The same from what it stands for: a walk for the color, and one for the logits."""
    seen = reference_composite(density, t_edges, color)
    parsed = reference_composite(scale_gradient(density, semantic_share), t_edges, logits)
    return seen.values, parsed.values, seen.transmittance


def portrait_cotangents(generator, rays, classes=11):
    shapes = (rays, 3), (rays, classes), (rays,)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def test_a_portrait_matches_the_oracle(backend, generator):
    density, t_edges, color, logits = random_portraits(generator, 7, 6)
    out = composite_portrait(density, t_edges, color, logits, semantic_share=0.1)
    for ray in range(7):
        edges = t_edges[ray].tolist()
        values = torch.cat((color[ray], logits[ray]), dim=-1).tolist()
        sums, passes, weights = oracles.composite_ray(density[ray].tolist(), edges, values)
        torch.testing.assert_close(out.color[ray], torch.tensor(sums[:3]))
        torch.testing.assert_close(out.logits[ray], torch.tensor(sums[3:]))
        torch.testing.assert_close(out.transmittance[ray], torch.tensor(passes))
        torch.testing.assert_close(out.weights[ray], torch.tensor(weights))
        away = sum(w * (a + b) / 2 for w, a, b in zip(weights, edges, edges[1:], strict=False))
        distance = away / sum(weights) if sum(weights) > 0 else 0.0
        torch.testing.assert_close(out.distance[ray], torch.tensor(distance))


def test_what_shows_nothing_is_at_no_distance(backend):
    edges = torch.tensor([[1.0, 2.0, 3.0]])
    out = composite_portrait(
        torch.zeros(1, 2), edges, torch.ones(1, 2, 3), torch.ones(1, 2, 4), semantic_share=1.0
    )
    assert torch.equal(out.distance, torch.zeros(1))
    assert torch.equal(out.transmittance, torch.ones(1))


@pytest.mark.parametrize(("rays", "samples"), PORTRAITS)
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_a_portrait_is_two_walks_in_values_and_gradients(backend, generator, rays, samples, share):
    tensors = random_portraits(generator, rays, samples)
    found = composite_portrait(*tensors, semantic_share=share)
    expected = two_walks(*tensors, semantic_share=share)
    for ours, theirs in zip(found[:3], expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    cotangents = portrait_cotangents(generator, rays)
    ours = portrait_gradients(composite_portrait, tensors, cotangents, semantic_share=share)
    # As above: sums of about 100 terms of size 1 in another order.
    exact = portrait_gradients(
        two_walks,
        [tensor.double() for tensor in tensors],
        [tensor.double() for tensor in cotangents],
        semantic_share=share,
    )
    for mine, truth in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, truth.float(), rtol=1e-5, atol=2e-5)


def test_derivatives_of_the_portrait_reference_match_finite_differences(generator):
    density, t_edges, color, logits = (
        tensor.double() for tensor in random_portraits(generator, 2, 3, classes=2)
    )

    def sums(*leaves):
        return reference_composite_portrait(leaves[0], t_edges, *leaves[1:], semantic_share=1.0)[:3]

    leaves = [tensor.requires_grad_() for tensor in (density.clamp(max=3) + 0.1, color, logits)]
    assert torch.autograd.gradcheck(sums, leaves)


@pytest.mark.parametrize("number_type", [torch.bfloat16, torch.float32])
def test_colors_and_logits_are_read_as_they_come(backend, generator, number_type):
    density, t_edges, color, logits = random_portraits(generator, 33, 8)
    color, logits = color.to(number_type), logits.to(number_type)
    cotangents = portrait_cotangents(generator, 33)
    found, wide = (
        portrait_gradients(
            composite_portrait, (density, t_edges, c, s), cotangents, semantic_share=0.1
        )
        for c, s in ((color, logits), (color.float(), logits.float()))
    )
    torch.testing.assert_close(found[0], wide[0])
    for ours, theirs in zip(found[1:], wide[1:], strict=True):
        assert ours.dtype == number_type
        # Rounded once, to the nearest.
        assert torch.equal(ours, theirs.to(number_type))
    narrow = composite_portrait(density, t_edges, color, logits, semantic_share=0.1)
    whole = composite_portrait(density, t_edges, color.float(), logits.float(), semantic_share=0.1)
    assert torch.equal(narrow.color, whole.color)
    assert torch.equal(narrow.logits, whole.logits)


def test_no_logits_cost_nothing(backend, generator):
    density, t_edges, color, logits = random_portraits(generator, 5, 4)
    out = composite_portrait(density, t_edges, color, logits[..., :0], semantic_share=0.1)
    assert out.logits.shape == (5, 0)
    torch.testing.assert_close(out.color, composite(density, t_edges, color).values)


def test_distance_and_weights_carry_no_gradient(backend, generator):
    density, t_edges, color, logits = random_portraits(generator, 5, 4)
    out = composite_portrait(
        density.requires_grad_(), t_edges.requires_grad_(), color, logits, semantic_share=0.1
    )
    assert not out.distance.requires_grad
    assert not out.weights.requires_grad
    out.color.sum().backward()
    assert t_edges.grad is None


def test_a_gradient_of_the_color_alone_suffices(backend):
    density = torch.full((1, 1), LN2, requires_grad=True)
    edges = torch.tensor([[0.0, 1.0]])
    out = composite_portrait(
        density, edges, torch.ones(1, 1, 3), torch.ones(1, 1, 2), semantic_share=0.1
    )
    (grad,) = torch.autograd.grad(out.color[:, 0].sum(), density)
    torch.testing.assert_close(grad, torch.tensor([[0.5]]))


@pytest.mark.refuses
def test_a_portrait_that_does_not_fit_is_refused(backend):
    density, edges, color = torch.ones(2, 3), torch.ones(2, 4), torch.ones(2, 3, 3)
    with pytest.raises(ValueError, match=r"color has shape \(2, 2, 3\); expected \(2, 3, 'ch"):
        composite_portrait(density, edges, color[:, :2], color, semantic_share=1.0)
    with pytest.raises(ValueError, match=r"logits has shape \(2, 3\); expected"):
        composite_portrait(density, edges, color, density, semantic_share=1.0)
    with pytest.raises(ValueError, match="3 edges for 3 samples"):
        composite_portrait(density, edges[:, :3], color, color, semantic_share=1.0)
