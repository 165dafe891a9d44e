"""Samples along whole rays: an analytic ball, and a head behind a torso."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from small_fields import FEATURE_DIM, WINDOW, driven_by
from small_rays import FACING, RADIUS, SIZE, rays_of
from sspnerf.config import PRESETS, PerceptronConfig, VolumeConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.fields.driven_perceptrons import DrivenPerceptrons
from sspnerf.fields.head_and_torso import HeadAndTorso
from sspnerf.fields.perceptron_field import PerceptronField
from sspnerf.fields.portrait_field import FieldOutput
from sspnerf.geometry.rotations import rigid_transform
from sspnerf.render.volume import render_rays

COLOR = (0.9, 0.5, 0.2)
VOLUME = VolumeConfig(coarse=32, fine=64, near=40.0, far=80.0)
TINY = PerceptronConfig(hidden=8, layers=2, mesh_features=2)


class Ball(PerceptronField):
    """A ball of one color and density without any layer; remembers where it was asked."""

    def __init__(self, *, center=(0.0, 0.0, 0.0), color=COLOR, density=40.0) -> None:
        nn.Module.__init__(self)
        self.center, self.color, self.density = torch.tensor(center), torch.tensor(color), density
        self.asked: list[torch.Tensor] = []

    def forward(self, position, direction, condition, mesh_features=None):  # noqa: D102
        self.asked.append(position)
        inside = (position - self.center).norm(dim=-1) < RADIUS
        logits = torch.zeros(len(position), SEMANTIC_CLASSES)
        logits[:, SemanticClass.SKIN] = 10.0
        return FieldOutput(inside * self.density, self.color.expand(len(inside), 3), logits)


def one_field(**ball):
    config = replace(
        PRESETS["paper"], volume=VOLUME, perceptron=TINY, torso_deformation=False, rough_mesh=False
    )
    driven = DrivenPerceptrons(
        config, feature_dim=FEATURE_DIM, window=WINDOW, classes=SEMANTIC_CLASSES, vertices=9
    )
    driven.coarse, driven.fine = Ball(**ball), Ball(**ball)
    return driven


def render(driven, rays, **options):
    behind = torch.linspace(0, 1, len(rays) * 3).view(len(rays), 3)
    drive = driven_by(torch.zeros(1, driven.condition_dim))
    return behind, render_rays(driven, rays, drive, background=behind, **options)


def chords(rays, center=(0.0, 0.0, 0.0)):
    start = rays.origin - torch.tensor(center)
    middle = -(start * rays.direction).sum(-1)
    nearest = (start + middle[:, None] * rays.direction).norm(dim=-1)
    half = (RADIUS**2 - nearest.square()).clamp(min=0).sqrt()
    return nearest, middle - half


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_a_dense_ball_is_a_disc_of_its_color_at_its_front(backend, turn):
    pose = rigid_transform(torch.tensor([0.2 * turn, turn, 0.0, 0.0, 0.0, 0.0])) @ FACING
    rays = rays_of(pose)
    behind, seen = render(one_field(), rays)
    nearest, entry = chords(rays)
    inside, outside = nearest < RADIUS - 0.3, nearest > RADIUS + 0.01
    assert inside.sum() > 90
    count = int(inside.sum())
    torch.testing.assert_close(seen.accumulation[inside], torch.ones(count), rtol=0, atol=1e-4)
    expected = torch.tensor(COLOR).expand(count, 3)
    torch.testing.assert_close(seen.color[inside], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(seen.coarse.color[inside], expected, rtol=0, atol=1e-4)
    # Coarse samples are 1.25 cm long; the fine ones lie where those found something.
    assert (seen.distance - entry)[inside].abs().median() < 0.3
    assert torch.equal(seen.color[outside], behind[outside])
    assert torch.equal(seen.coarse.color[outside], behind[outside])
    assert (seen.logits[outside].argmax(-1) == SemanticClass.BACKGROUND).all()
    assert (seen.logits[inside].argmax(-1) == SemanticClass.SKIN).all()
    assert (seen.coarse.logits[inside].argmax(-1) == SemanticClass.SKIN).all()


def test_fine_samples_lie_where_the_coarse_field_found_something(generator):
    driven, rays = one_field(), rays_of().select(torch.tensor([SIZE * 12 + 12]))
    render(driven, rays, generator=generator)
    coarse, fine = driven.coarse.asked[0], driven.fine.asked[0]
    assert len(coarse) == VOLUME.coarse
    assert len(fine) == VOLUME.coarse + VOLUME.fine
    # Nearly all of the weight lies in the first coarse sample inside the ball.
    assert ((fine[:, 2] - RADIUS).abs() < 1.3).sum() > 0.8 * VOLUME.fine
    assert fine[:, 2].diff().max() <= 0
    assert coarse[:, 2].max() > 18
    assert coarse[:, 2].min() < -18


def test_training_shifts_the_samples(generator):
    driven, rays = one_field(), rays_of()
    render(driven, rays, generator=generator)
    render(driven, rays, generator=generator)
    first, second = driven.coarse.asked
    assert not torch.allclose(first, second)


HEAD, TORSO = (0.0, 0.0, 0.0), (0.0, -7.0, 10.0)


def two_fields(*, torso_density=40.0, head_density=40.0, volume=VOLUME):
    config = replace(PRESETS["adnerf"], volume=volume, perceptron=TINY)
    driven = HeadAndTorso(config, feature_dim=FEATURE_DIM, window=WINDOW)
    driven.head_coarse = driven.head_fine = Ball(center=HEAD, density=head_density)
    driven.torso_coarse = driven.torso_fine = Ball(
        center=TORSO, color=(0.1, 0.2, 0.7), density=torso_density
    )
    return driven


def test_while_the_head_learns_there_is_no_torso():
    rays = rays_of()
    _, seen = render(two_fields(), rays)
    _, alone = render(one_field(), rays)
    torch.testing.assert_close(seen.color, alone.color)
    assert (seen.logits.argmax(-1) == SemanticClass.BACKGROUND).any()


def test_the_torso_stands_in_front_of_the_head_and_lets_the_rest_through():
    driven, rays = two_fields(), rays_of()
    driven.rest_head()
    behind, seen = render(driven, rays)
    torso, entry = chords(rays, TORSO)
    head, _ = chords(rays, HEAD)
    on_torso, on_head = torso < RADIUS - 0.4, (torso > RADIUS + 0.1) & (head < RADIUS - 0.4)
    nothing = (torso > RADIUS + 0.1) & (head > RADIUS + 0.1)
    assert min(on_torso.sum(), on_head.sum(), nothing.sum()) > 20
    for part, color in ((on_torso, (0.1, 0.2, 0.7)), (on_head, COLOR)):
        expected = torch.tensor(color).expand(int(part.sum()), 3)
        torch.testing.assert_close(seen.color[part], expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(seen.coarse.color[part], expected, rtol=0, atol=1e-4)
    assert torch.equal(seen.color[nothing], behind[nothing])
    assert (seen.distance - entry)[on_torso].abs().median() < 0.3
    assert torch.equal(seen.accumulation[nothing], torch.zeros(int(nothing.sum())))


def test_a_thin_torso_shows_the_head_by_its_last_weight():
    """I = T I_head + (1 - T) torso color, with T = exp(-density * chord)."""
    driven, ray = two_fields(torso_density=0.1), rays_of().select(torch.tensor([SIZE * 15 + 12]))
    driven.rest_head()
    _, seen = render(driven, ray)
    nearest, _ = chords(ray, TORSO)
    passed = torch.exp(-0.1 * 2 * (RADIUS**2 - nearest.square()).sqrt())
    assert 0.2 < passed < 0.8
    expected = passed * torch.tensor(COLOR) + (1 - passed) * torch.tensor((0.1, 0.2, 0.7))
    # The chord is known to a sample of 1.25 cm or less at either end.
    torch.testing.assert_close(seen.color[0], expected, rtol=0, atol=0.06)


def mist(ray, center, density):
    """What a thin ball takes of a ray, and the mean distance of where it takes it."""
    nearest, entry = (float(part) for part in chords(ray, center))
    length = 2 * math.sqrt(RADIUS**2 - nearest**2)
    taken = 1 - math.exp(-density * length)
    return taken, entry + 1 / density - length * (1 - taken) / taken


def test_the_distance_behind_a_thin_torso_is_the_mean_of_what_is_seen():
    """A torso in front takes its share of the light, a thin head one of what is left."""
    finer = replace(VOLUME, coarse=256, fine=256)
    driven = two_fields(torso_density=0.05, head_density=0.1, volume=finer)
    driven.rest_head()
    ray = rays_of().select(torch.tensor([SIZE * 15 + 12]))
    _, seen = render(driven, ray)
    torso, torso_distance = mist(ray, TORSO, 0.05)
    head, head_distance = mist(ray, HEAD, 0.1)
    behind = (1 - torso) * head
    assert min(torso, behind) > 0.2
    assert head_distance - torso_distance > 5
    expected = (torso * torso_distance + behind * head_distance) / (torso + behind)
    # Where a ball begins and ends is known to a sample of 0.16 cm.
    assert float(seen.accumulation) == pytest.approx(torso + behind, abs=0.02)
    assert float(seen.distance) == pytest.approx(expected, abs=0.3)


def test_where_there_is_no_head_the_distance_is_the_torsos():
    driven = two_fields(torso_density=0.08, volume=replace(VOLUME, coarse=256, fine=256))
    driven.rest_head()
    ray = rays_of().select(torch.tensor([SIZE * 20 + 12]))
    assert chords(ray, HEAD)[0] > RADIUS
    _, seen = render(driven, ray)
    taken, distance = mist(ray, TORSO, 0.08)
    assert float(seen.accumulation) == pytest.approx(taken, abs=0.02)
    assert float(seen.distance) == pytest.approx(distance, abs=0.3)


@pytest.mark.parametrize("torso_stage", [False, True])
def test_only_the_torso_changes_with_the_pose_that_it_is_told(torso_stage):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = replace(PRESETS["adnerf"], volume=VOLUME, perceptron=TINY)
        driven = HeadAndTorso(config, feature_dim=FEATURE_DIM, window=WINDOW)
    if torso_stage:
        driven.rest_head()
    rays, drive = rays_of(), driven_by(torch.zeros(1, driven.condition_dim))
    behind = torch.zeros(len(rays), 3)
    told = [drive, drive._replace(pose=torch.tensor([[0.2, 0.0, 0.0, 0.0, 0.0, 0.5]]))]
    still, turned = (render_rays(driven, rays, each, background=behind) for each in told)
    assert torch.equal(still.color, turned.color) != torso_stage


def test_the_torso_is_seen_from_its_own_camera():
    driven = two_fields()
    driven.rest_head()
    turned = rigid_transform(torch.tensor([0.0, 0.3, 0.0, 0.0, 0.0, 0.0])) @ FACING
    still, moving = rays_of(), rays_of(turned, FACING)
    asked = driven.torso_coarse.asked
    for rays in (still, moving):
        render(driven, rays)
    torch.testing.assert_close(asked[0], asked[2])


def test_the_resting_head_receives_no_gradient():
    config = replace(PRESETS["adnerf"], volume=VolumeConfig(coarse=4, fine=4, near=40.0, far=80.0))
    driven = HeadAndTorso(replace(config, perceptron=TINY), feature_dim=FEATURE_DIM, window=WINDOW)
    driven.rest_head()
    _, seen = render(driven, rays_of())
    seen.color.square().sum().backward()
    learned = {n.split("_")[0] for n, p in driven.named_parameters() if p.grad is not None}
    assert learned == {"torso"}
