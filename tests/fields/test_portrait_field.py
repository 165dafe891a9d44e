"""The field: gradients everywhere, each point alone, who listens and who does not."""

import math
from dataclasses import replace

import pytest
import torch

from small_fields import SMALL, condition_dim
from sspnerf.fields.portrait_field import (
    REGION_SOFTNESS_CM,
    SPEECH_BELOW_CM,
    UPPER_FACE_ABOVE_CM,
    PortraitField,
    perceptron,
)
from sspnerf.ops.field_inputs import reach_weights, surface_features

CONDITION, SPEECH, CLASSES, POINTS = condition_dim(SMALL), SMALL.field.speech_dim, 5, 40


def field(*, rough_mesh=True, seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PortraitField(
            replace(SMALL.field, **changes), classes=CLASSES, rough_mesh=rough_mesh
        )
        with torch.no_grad():
            made.table.mul_(50)
    return made


@pytest.fixture
def inputs(generator):
    position = torch.rand(POINTS, 3, generator=generator) * 30 - 15
    condition = torch.randn(POINTS, CONDITION, generator=generator)
    return position, condition, torch.rand(POINTS, generator=generator)


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_every_parameter_receives_a_gradient(inputs):
    made = field()
    density, color, logits = made(*inputs)
    (density.sum() + color.square().sum() + logits.square().sum()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_what_is_said_is_in_range_and_float32(inputs):
    density, color, logits = field()(*inputs)
    assert density.shape == (POINTS,)
    assert color.shape == (POINTS, 3)
    assert logits.shape == (POINTS, CLASSES)
    assert density.dtype == color.dtype == logits.dtype == torch.float32
    assert (density >= 0).all()
    assert (color >= 0).all()
    assert (color <= 1).all()


def test_at_first_there_is_a_thin_mist_at_the_rest_surface(inputs):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        fresh = PortraitField(SMALL.field, classes=CLASSES, rough_mesh=True)
    (position, condition, _), weight = inputs, torch.zeros(POINTS)
    at_surface, before = position.clone(), position.clone()
    at_surface[:, 2], before[:, 2] = 0.0, 2.0
    # A dense start is a curtain at the near plane; nothing at all does not learn.
    assert 0.02 < fresh(at_surface, condition, weight).density.mean() < 1.0
    assert fresh(before, condition, weight).density.max() < 0.02


def test_each_point_is_asked_alone(inputs):
    made = field()
    before = made(*inputs)
    position, condition, weight = (part.clone() for part in inputs)
    position[1:] = position[1:].flip(0) * 0.5
    condition[1:], weight[1:] = 0.0, 0.3
    after = made(position, condition, weight)
    assert not torch.equal(after.color, before.color)
    assert_same([part[0] for part in after], [part[0] for part in before])


def test_the_torso_does_not_listen(inputs):
    made, (position, condition, weight) = field(), inputs
    torso, head = torch.ones_like(weight), torch.zeros_like(weight)
    silent = torch.zeros_like(condition)
    assert_same(made(position, condition, torso), made(position, silent, torso))
    assert not torch.equal(made(position, condition, head)[0], made(position, silent, head)[0])


def test_speech_reaches_the_lower_face_and_blinks_the_upper_by_hand():
    made = field()
    made.nose_height.fill_(1.0)
    heights = torch.tensor([-20.0, 1 + SPEECH_BELOW_CM, 1 + UPPER_FACE_ABOVE_CM, 30.0])
    weights = reach_weights(heights, made.reach)
    part = 1 / (1 + math.exp(-(SPEECH_BELOW_CM - UPPER_FACE_ABOVE_CM) / REGION_SOFTNESS_CM))
    expected = torch.tensor([[1.0, 0.5, part, 0.0], [0.0, part, 0.5, 1.0]]).T
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize(("height", "listens_to"), [(-12.0, "speech"), (12.0, "upper face")])
def test_mouth_and_brows_each_listen_to_their_own_part(inputs, height, listens_to):
    made, (position, condition, weight) = field(), inputs
    position, weight = position.clone(), torch.zeros_like(weight)
    position[:, 1] = height
    other = condition.clone()
    if listens_to == "speech":
        other[:, SPEECH:] = 0
    else:
        other[:, :SPEECH] = 0
    assert_same(made(position, condition, weight), made(position, other, weight))
    silent = made(position, torch.zeros_like(condition), weight)
    assert not torch.equal(made(position, condition, weight).density, silent.density)


def test_where_a_point_lies_against_the_rest_surface_by_hand():
    made = field()
    made.surface.fill_(2.0)
    position = torch.tensor([[1.0, 1.0, 2.0], [-3.0, 0.0, 6.0], [0.0, 9.0, 1.0]])
    above = torch.tensor([0.0, 4.0, -1.0])
    expected = torch.stack((above / 4, above.tanh(), (-above * above).exp()), dim=-1)
    torch.testing.assert_close(surface_features(position, made.rest_surface)[:, :3], expected)


def test_density_is_expected_to_grow_into_the_rest_surface(inputs):
    """By e^2 per cm, up to 2 cm before and behind it, for the head; nothing else changes."""
    free, pulled = field(surface_pull=0.0), field(surface_pull=2.0)
    (position, condition, _), weight = inputs, torch.zeros(POINTS)
    above = torch.linspace(-4, 4, POINTS)
    position = torch.stack((position[:, 0] / 4, position[:, 1] / 4, above), dim=-1)
    before, after = free(position, condition, weight), pulled(position, condition, weight)
    expected = before.density * torch.exp(-2 * above.clamp(-2, 2))
    torch.testing.assert_close(after.density, expected, rtol=0.03, atol=0)
    assert torch.equal(after.color, before.color)
    assert torch.equal(after.logits, before.logits)
    torso = torch.ones(POINTS)
    assert_same(pulled(position, condition, torso), free(position, condition, torso))


def test_without_parsing_the_picture_stays(inputs):
    made = field()
    whole, picture = made(*inputs), made(*inputs, parse=False)
    assert torch.equal(picture.density, whole.density)
    assert torch.equal(picture.color, whole.color)
    assert picture.logits.shape == (POINTS, 0)


def test_without_the_rough_mesh_nothing_is_expected(inputs):
    one, other = field(rough_mesh=False), field(rough_mesh=False, surface_pull=9.0)
    assert_same(one(*inputs), other(*inputs))


def test_near_what_region_a_point_lies_by_hand():
    made = field()
    extent, nodes = made.extent, made.regions.shape[0]
    # Class 1 to the left, class 2 to the right, above and below alike; class 0 grows with y.
    made.regions[:, : nodes // 2, 1] = 1.0
    made.regions[:, nodes // 2 :, 2] = 1.0
    made.regions[..., 0] = torch.linspace(0, 1, nodes)[:, None]
    position = torch.tensor([[-0.5, 0.0, 9.0], [0.5, 0.0, -9.0], [0.0, 0.5, 0.0]]) * extent
    found = surface_features(position, made.rest_surface)[:, 3:]
    torch.testing.assert_close(found[:, 1], torch.tensor([1.0, 0.0, 0.5]))
    torch.testing.assert_close(found[:, 2], torch.tensor([0.0, 1.0, 0.5]))
    # Node centres lie half a node inside the border: y = 0.5 is node 95.5 of 0 to 127.
    torch.testing.assert_close(found[:, 0], torch.tensor([0.5, 0.5, 95.5 / 127]))
    assert not found[:, 3:].any()


@pytest.mark.parametrize("rough_mesh", [True, False])
def test_the_rest_surface_matters_only_where_it_is_told(inputs, rough_mesh):
    made = field(rough_mesh=rough_mesh)
    before = made(*inputs)
    made.surface.fill_(3.0)
    assert torch.equal(made(*inputs).density, before.density) != rough_mesh


def test_the_position_learns_from_the_grids_and_not_from_the_hint(inputs):
    made, (position, condition, weight) = field(), inputs
    with torch.no_grad():
        made.table.zero_()
    position = position.clone().requires_grad_()
    made(position, condition, weight).density.sum().backward()
    assert torch.equal(position.grad, torch.zeros_like(position))


def test_the_densest_density_is_finite_forwards_and_backwards(inputs):
    made = field()
    with torch.no_grad():
        made.density_net[-1].bias[0] = 1e6
    density = made(*inputs).density
    density.sum().backward()
    assert density.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())


def test_no_points_are_answered_with_nothing():
    none = field()(torch.zeros(0, 3), torch.zeros(0, CONDITION), torch.zeros(0))
    assert [tuple(part.shape) for part in none] == [(0,), (0, 3), (0, CLASSES)]


def test_a_perceptron_has_the_layers_asked_for():
    net = perceptron(3, 2, hidden=5, layers=2)
    shapes = [tuple(p.shape) for p in net.parameters()]
    assert shapes == [(5, 3), (5,), (5, 5), (5,), (2, 5), (2,)]


@pytest.mark.refuses
def test_a_field_without_an_extent_is_refused():
    with pytest.raises(ValueError, match=r"field\.extent is not set; fit it to the clip first"):
        field(extent=None)
