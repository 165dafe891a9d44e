"""Rendering an analytic ball: silhouette, color, accumulation and distance are known."""

import math
from dataclasses import replace

import pytest
import torch

from small_fields import BallField, ConditionField, condition_dim, driven_by, no_drive, untrained
from small_rays import DISTANCE, FACING, RADIUS, SIZE, rays_of
from sspnerf.config import BandConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.fields.torso import Canonical
from sspnerf.geometry.rays import points_along
from sspnerf.geometry.rest_surface import intersect_surface
from sspnerf.geometry.rotations import rigid_transform
from sspnerf.ops.compositing import composite
from sspnerf.ops.gradients import scale_gradient
from sspnerf.ops.ray_sampling import midpoints, stratified_edges
from sspnerf.render.band import place_rays, surface_distance
from sspnerf.render.rendered import certain_background, over_background
from sspnerf.render.volume import render_rays


def chords(rays):
    """For each ray: the nearest it comes to the origin, cm, and where it enters the ball."""
    middle = -(rays.origin * rays.direction).sum(-1)
    nearest = (rays.origin + middle[:, None] * rays.direction).norm(dim=-1)
    half = (RADIUS**2 - nearest.square()).clamp(min=0).sqrt()
    return nearest, middle - half, 2 * half


def place_in_steps(driven, rays):
    """Distance, and canonical x and y, from what they stand for, one step after the other."""
    shape, extent = driven.field.surface, driven.field.extent
    belongs = driven.torso_deformation.initial_weight
    head = intersect_surface(shape, rays.origin, rays.direction, extent=extent)
    torso = intersect_surface(shape, rays.torso_origin, rays.torso_direction, extent=extent)
    height = rays.torso_origin[:, 1] + torso * rays.torso_direction[:, 1]
    distance = torch.lerp(head, torso, belongs(height))
    point = points_along(rays.origin, rays.direction, distance[:, None])[:, 0]
    body = points_along(rays.torso_origin, rays.torso_direction, distance[:, None])[:, 0]
    return distance, torch.lerp(point, body, belongs(body[:, 1])[:, None])[:, :2]


def render_in_steps(driven, rays, background, band_scale, generator):
    """Color, logits, accumulation and distance, from two walks along each ray."""
    surface, band = place_in_steps(driven, rays)[0].detach(), driven.config.band
    near, far = surface - band.front * band_scale, surface + band.back * band_scale
    t_edges = stratified_edges(near, far, samples=band.samples, generator=generator)
    t_mid = midpoints(t_edges)
    answer = driven(
        points_along(rays.origin, rays.direction, t_mid).reshape(-1, 3),
        points_along(rays.torso_origin, rays.torso_direction, t_mid).reshape(-1, 3),
        no_drive().of_points(rays.slot, band.samples),
    )
    density = answer.output.density.view(t_mid.shape)
    seen = composite(density, t_edges, answer.output.color.view(*t_mid.shape, 3))
    share = driven.config.field.semantic_share
    logits = answer.output.logits.view(*t_mid.shape, SEMANTIC_CLASSES)
    parsed = composite(scale_gradient(density, share), t_edges, logits)
    return (
        over_background(seen, background),
        over_background(parsed, certain_background(background.device)),
        1 - seen.transmittance,
        (seen.weights * t_mid).sum(-1) / seen.weights.sum(-1).clamp(min=1e-6),
    )


def bent(seed=5):
    """A field with random weights and an uneven surface, and rays of a head that leans."""
    driven = untrained(scale=50)
    random = torch.Generator().manual_seed(seed)
    driven.field.surface.copy_(torch.randn(driven.field.surface.shape, generator=random))
    driven.place(torch.zeros(1, 3), Canonical(FACING, 0.0))
    vector = torch.tensor([0.1, 0.2, 0.0, 1.0, 0.5, 2.0], requires_grad=True)
    return driven, vector, rays_of(rigid_transform(vector) @ FACING, FACING)


def render(driven, rays, **options):
    behind = torch.linspace(0, 1, len(rays) * 3).view(len(rays), 3)
    if "band" in options:
        driven.config = replace(driven.config, band=options.pop("band"))
    options = {"background": behind} | options
    return behind, render_rays(driven, rays, no_drive(), **options)


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_a_dense_ball_is_a_disc_of_its_color_at_its_front(backend, turn):
    pose = rigid_transform(torch.tensor([0.2 * turn, turn, 0.0, 0.0, 0.0, 0.0])) @ FACING
    rays = rays_of(pose)
    behind, seen = render(BallField(radius=RADIUS), rays)
    nearest, entry, _ = chords(rays)
    inside, outside = nearest < RADIUS - 0.3, nearest > RADIUS + 0.01
    assert inside.sum() > 90
    assert outside.sum() > 90
    torch.testing.assert_close(seen.accumulation[inside], torch.ones(int(inside.sum())))
    torch.testing.assert_close(
        seen.color[inside], torch.tensor(BallField.color).expand(int(inside.sum()), 3)
    )
    assert (seen.logits[inside].argmax(-1) == SemanticClass.SKIN).all()
    # Samples are 0.15 cm long (0.16 along slanted rays), and light gets 1/40 cm deep.
    assert (seen.distance - entry)[inside].abs().max() < 0.2
    assert torch.equal(seen.accumulation[outside], torch.zeros(int(outside.sum())))
    assert torch.equal(seen.color[outside], behind[outside])
    assert (seen.logits[outside].argmax(-1) == SemanticClass.BACKGROUND).all()


def test_a_thin_ball_absorbs_by_the_length_of_the_way_through_it(backend):
    rays = rays_of()
    behind, seen = render(BallField(radius=RADIUS, density=0.1), rays)
    _, _, chord = chords(rays)
    expected = 1 - torch.exp(-0.1 * chord)
    # The way is known to one sample of 0.15 cm at either end.
    assert (seen.accumulation - expected).abs().max() < 0.1 * 0.16
    share = seen.accumulation[:, None]
    torch.testing.assert_close(
        seen.color, share * torch.tensor(BallField.color) + (1 - share) * behind
    )


def test_nothing_shows_exactly_the_background(backend):
    behind, seen = render(BallField(density=0.0), rays_of())
    assert torch.equal(seen.color, behind)
    assert torch.equal(seen.accumulation, torch.zeros(len(behind)))
    assert torch.equal(seen.distance, torch.zeros(len(behind)))
    assert (seen.logits.argmax(-1) == SemanticClass.BACKGROUND).all()
    assert seen.logits.softmax(-1)[:, SemanticClass.BACKGROUND].min() > 0.99
    assert seen.logits.shape == (len(behind), SEMANTIC_CLASSES)


def test_each_ray_is_driven_by_its_own_frame(backend):
    driven, rays = ConditionField(radius=RADIUS), rays_of()
    some = rays.select(torch.tensor([SIZE * 12 + 12] * 3))
    some = replace(some, slot=torch.tensor([1, 0, 1]))
    condition = torch.zeros(2, condition_dim(driven.config))
    condition[:, :3] = torch.tensor([[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]])
    seen = render_rays(driven, some, driven_by(condition), background=torch.zeros(3, 3))
    torch.testing.assert_close(seen.color, condition[[1, 0, 1], :3])


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_samples_lie_in_the_band_around_the_surface(scale):
    driven, rays = BallField(), rays_of()
    band = BandConfig(samples=8, render_samples=8, front=2.0, back=4.0)
    render(driven, rays, band=band, band_scale=scale)
    positions = driven.asked[0].view(len(rays), 8, 3)
    along = (positions - rays.origin[:, None]).norm(dim=-1)
    surface = DISTANCE / -rays.direction[:, 2]  # the plane z = 0
    middles = (torch.arange(8) + 0.5) / 8 * 6.0 - 2.0
    torch.testing.assert_close(along - surface[:, None], (middles * scale).expand(len(rays), 8),
                               rtol=1e-4, atol=1e-4)  # fmt: skip


def test_training_shifts_samples_by_less_than_half_of_one(generator):
    driven, rays = BallField(), rays_of()
    band = BandConfig(samples=8, render_samples=8, front=2.0, back=2.0)
    render(driven, rays, band=band)
    render(driven, rays, band=band, generator=generator)
    fixed, shifted = (asked.view(len(rays), 8, 3) for asked in driven.asked)
    moved = (shifted - fixed).norm(dim=-1)
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), rtol=1e-3, atol=1e-4)
    assert 0.2 < moved.max() <= 0.2501


def test_the_surface_is_found_as_head_above_and_as_torso_below():
    driven = untrained()
    driven.field.surface.fill_(3.0)
    driven.place(torch.zeros(1, 3), Canonical(FACING, 0.0))
    nearer = FACING.clone()
    nearer[2, 3] = DISTANCE - 5
    rays = rays_of(FACING, nearer)
    found = surface_distance(driven, rays).view(SIZE, SIZE)
    head, torso = ((DISTANCE - back - 3) / -rays.direction[:, 2] for back in (0, 5))
    # The upper rows lie 10 cm above the neck, the lower ones 10 cm below.
    torch.testing.assert_close(found[0], head.view(SIZE, SIZE)[0], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found[-1], torso.view(SIZE, SIZE)[-1], rtol=1e-4, atol=1e-2)
    assert not found.requires_grad


def test_rays_are_placed_as_their_steps_say(backend):
    driven, _, rays = bent()
    found = place_rays(driven, rays)
    distance, canonical = place_in_steps(driven, rays)
    torch.testing.assert_close(found.distance, distance.detach())
    # 60 cm in float32 is known to 4e-6 cm.
    torch.testing.assert_close(found.canonical, canonical.detach(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seed", [None, 7])
def test_pictures_and_gradients_are_those_of_two_walks(backend, seed):
    driven, vector, rays = bent()
    behind = torch.linspace(0, 1, len(rays) * 3).view(-1, 3)
    learned, found = (driven.field.table, vector), []
    for function in (render_rays, render_in_steps):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        if function is render_rays:
            seen = render_rays(
                driven, rays, no_drive(), background=behind, band_scale=0.5, generator=generator
            )[:4]
        else:
            seen = render_in_steps(driven, rays, behind, 0.5, generator)
        loss = sum(part.square().sum() for part in seen[:3])
        found.append((seen, torch.autograd.grad(loss, learned, retain_graph=True)))
    (ours, our_gradients), (theirs, their_gradients) = found
    # Inside the field numbers may be bfloat16: a point moved by 1e-5 cm may be rounded otherwise.
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=2**-7, atol=2**-7)
    for mine, other in zip(our_gradients, their_gradients, strict=True):
        assert (mine - other).norm() < 0.01 * other.norm()


def test_a_known_surface_is_not_looked_for(backend):
    driven, _, rays = bent()
    known = surface_distance(driven, rays)
    _, expected = render(driven, rays)
    driven.field.surface.fill_(99.0)
    _, found = render(driven, rays, surface=known)
    # The same points; what is there has changed, as the field knows the surface too.
    assert torch.equal(found.offset, expected.offset)


def test_pictures_are_differentiable_in_parameters_and_poses():
    driven = untrained(scale=50)
    vector = torch.zeros(6, requires_grad=True)
    rays = rays_of(rigid_transform(vector) @ FACING, FACING)
    _, seen = render(driven, rays.select(slice(200, 260)), background=torch.zeros(60, 3))
    (seen.color.square().sum() + seen.accumulation.sum() + seen.logits.square().sum()).backward()
    assert vector.grad.isfinite().all()
    assert (vector.grad != 0).all()
    assert driven.field.table.grad.abs().max() > 0
    assert not seen.distance.requires_grad


def test_no_rays_see_nothing(backend):
    none = rays_of().select(slice(0, 0))
    seen = render_rays(BallField(), none, no_drive(), background=torch.zeros(0, 3))
    assert seen.color.shape == (0, 3)
    assert seen.logits.shape == (0, SEMANTIC_CLASSES)


def test_the_reference_and_the_compiled_kernels_render_the_same(monkeypatch):
    driven, rays = untrained(scale=50), rays_of()
    pictures = []
    for name in ("reference", "auto"):
        monkeypatch.setenv("SSPNERF_BACKEND", name)
        with torch.no_grad():
            pictures.append(render(driven, rays)[1].color)
    # Inside the field numbers may be bfloat16: 8 bits.
    torch.testing.assert_close(*pictures, rtol=0, atol=2**-8)


def test_the_background_label_is_as_certain_as_documented():
    _, seen = render(BallField(density=0.0), rays_of().select(slice(0, 1)))
    probability = float(seen.logits.softmax(-1)[0, SemanticClass.BACKGROUND])
    assert probability == pytest.approx(1 / (1 + 10 * math.exp(-8)), abs=1e-6)
