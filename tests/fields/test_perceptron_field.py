"""The paper's field: counted, recomputed by hand, and who sees the direction."""

import math

import pytest
import torch

from sspnerf.fields import perceptron_field
from sspnerf.fields.perceptron_field import POSITION_SCALE, PerceptronField, SkipPerceptron

CONDITION, MESH, CLASSES, POINTS = 5, 3, 4, 30


def field(*, seed=0, **changes):
    settings = {
        "condition_dim": CONDITION, "mesh_features": MESH, "classes": CLASSES,
        "hidden": 16, "layers": 6,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PerceptronField(**settings | changes)
        with torch.no_grad():
            # Spread the densities, so that both sides of the ReLU are met.
            made.density_net.weight.mul_(20)
    return made


@pytest.fixture
def inputs(generator):
    return (
        torch.rand(POINTS, 3, generator=generator) * 30 - 15,
        torch.nn.functional.normalize(torch.randn(POINTS, 3, generator=generator), dim=-1),
        torch.randn(POINTS, CONDITION, generator=generator),
        torch.randn(POINTS, MESH, generator=generator),
    )


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(perceptron_field, "field_dtype", lambda device: torch.float32)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def layer(inputs, outputs):
    return inputs * outputs + outputs


def test_the_parameters_are_as_many_as_in_ad_nerf():
    position, direction = 3 + 3 * 2 * 10, 3 + 3 * 2 * 4
    inputs = position + 64
    trunk = layer(inputs, 256) + 6 * layer(256, 256) + layer(256 + inputs, 256)
    view = layer(256 + direction, 128) + 2 * layer(128, 128)
    by_hand = trunk + layer(256, 1) + layer(256, 256) + view + layer(128, 3)
    assert by_hand == 525_824 + 257 + 65_792 + 69_376 + 387 == 661_636
    assert count(PerceptronField(condition_dim=64)) == by_hand


def test_the_semantic_branch_adds_its_two_layers():
    added = layer(256, 128) + layer(128, 11)
    assert added == 32_896 + 1_419 == 34_315
    assert count(PerceptronField(condition_dim=64, classes=11)) == 661_636 + added


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
    assert (density > 0).all()
    assert (color >= 0).all()
    assert (color <= 1).all()


def test_only_the_color_sees_the_direction(inputs):
    made, (position, direction, condition, mesh) = field(), inputs
    before = made(*inputs)
    after = made(position, direction.flip(0), condition, mesh)
    assert torch.equal(after.density, before.density)
    assert torch.equal(after.logits, before.logits)
    assert not torch.equal(after.color, before.color)


@pytest.mark.parametrize("part", [0, 2, 3])
def test_all_outputs_see_position_condition_and_mesh(inputs, part):
    made = field()
    changed = list(inputs)
    changed[part] = changed[part].flip(0)
    for after, before in zip(made(*changed), made(*inputs), strict=True):
        assert not torch.equal(after, before)


@pytest.mark.parametrize("hidden", [64, 256])
def test_at_first_there_is_a_thin_mist_everywhere(inputs, hidden):
    for seed in range(5):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = PerceptronField(condition_dim=CONDITION, hidden=hidden)
        density = fresh(*inputs[:3]).density
        # A ray of 60 cm: none lets all light pass, none is black at its start.
        assert (density > 0).all()
        assert 0.1 < 60 * density.mean() < 2


def linear(x, module):
    return [
        sum(w * v for w, v in zip(row, x, strict=True)) + b
        for row, b in zip(module.weight.tolist(), module.bias.tolist(), strict=True)
    ]


def relu(x):
    return [max(v, 0.0) for v in x]


def gamma(x, bands):
    waves = [wave(2**k * v) for k in range(bands) for wave in (math.sin, math.cos) for v in x]
    return [*x, *waves]


def oracle(made, position, direction, condition, mesh):
    """The field at one point, number by number."""
    x = [*gamma([POSITION_SCALE * p for p in position], 10), *condition, *mesh]
    h = x
    for i, module in enumerate(made.trunk.layers):
        # Six layers: the input returns behind the one of index 3.
        h = relu(linear([*x, *h] if i == 4 else h, module))
    # Absorption per dm is a tenth of that per cm.
    density = math.log1p(math.exp(linear(h, made.density_net)[0])) / 10
    logits = linear(relu(linear(h, made.semantic_net[0])), made.semantic_net[2])
    v = [*linear(h, made.feature_net), *gamma(direction, 4)]
    for module in made.color_net[0].layers:
        v = relu(linear(v, module))
    return density, [1 / (1 + math.exp(-c)) for c in linear(v, made.color_net[1])], logits


@pytest.mark.usefixtures("in_float32")
def test_matches_the_oracle(inputs):
    made = field(hidden=8)
    found = made(*inputs)
    for i in range(POINTS):
        density, color, logits = oracle(made, *(part[i].tolist() for part in inputs))
        torch.testing.assert_close(found.density[i], torch.tensor(density))
        torch.testing.assert_close(found.color[i], torch.tensor(color))
        torch.testing.assert_close(found.logits[i], torch.tensor(logits))


def test_the_field_says_nearly_the_same_in_its_own_number_type(inputs, monkeypatch):
    made = field()
    monkeypatch.setattr(perceptron_field, "field_dtype", lambda device: torch.bfloat16)
    short = made(*inputs)
    monkeypatch.setattr(perceptron_field, "field_dtype", lambda device: torch.float32)
    # Eight bits, and a dozen layers that each round once: a few times 1/256 of values about 1.
    for ours, exact in zip(short, made(*inputs), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, exact, rtol=0.02, atol=0.02)


def test_the_position_learns_through_the_field(inputs):
    position = inputs[0].clone().requires_grad_()
    field()(position, *inputs[1:]).color.sum().backward()
    assert (position.grad.abs().amax(dim=-1) > 0).all()


def test_without_classes_and_mesh_there_are_no_logits(inputs):
    made = field(classes=None, mesh_features=0)
    assert made(*inputs[:3]).logits.shape == (POINTS, 0)


def test_no_points_are_answered_with_nothing():
    none = [torch.zeros(0, width) for width in (3, 3, CONDITION, MESH)]
    assert [tuple(part.shape) for part in field()(*none)] == [(0,), (0, 3), (0, CLASSES)]


@pytest.mark.parametrize(
    ("layers", "skip", "widths"),
    [(1, 0, [3]), (3, 1, [3, 5, 8]), (3, 2, [3, 5, 5]), (3, -1, [3, 5, 5]), (2, 0, [3, 8])],
)
def test_the_input_returns_after_the_skip_if_a_layer_follows(layers, skip, widths):
    net = SkipPerceptron(3, hidden=5, layers=layers, skip=skip)
    assert [layer.in_features for layer in net.layers] == widths
    assert net(torch.zeros(2, 3)).shape == (2, 5)


@pytest.mark.refuses
def test_missing_or_unasked_mesh_features_are_refused(inputs):
    with pytest.raises(ValueError, match="0 mesh features are given; expected 3"):
        field()(*inputs[:3])
    with pytest.raises(ValueError, match="3 mesh features are given; expected 0"):
        field(mesh_features=0)(*inputs)
