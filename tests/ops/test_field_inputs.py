"""What the networks read: against the formulas by hand, each implementation, and derivatives."""

import math

import pytest
import torch

from sspnerf.ops.field_inputs import (
    Reach,
    RestSurface,
    join_inputs,
    reach_weights,
    reference_join_inputs,
    surface_features,
)

REACH = Reach(speech_dim=3, below=2.0, above=1.0, softness=0.4)
EXTENT, COLUMNS, CONDITION, CLASSES = 8.0, 6, 5, 4


def rest_surface(generator, nodes=9, cells=7):
    height = torch.randn(nodes, nodes, generator=generator)
    return RestSurface(height, torch.rand(cells, cells, CLASSES, generator=generator), EXTENT)


def problem(generator, points, dtype=torch.float32):
    """Inputs that may carry a gradient, and the others; positions reach out of the square."""
    encoded = torch.randn(points, COLUMNS, generator=generator).to(dtype)
    gate = torch.randn(points, CONDITION, generator=generator).to(dtype)
    condition = torch.randn(2, CONDITION, generator=generator)
    weight = torch.rand(points, generator=generator)
    row = torch.randint(0, 2, (points,), generator=generator)
    position = torch.randn(points, 3, generator=generator) * 6
    return (encoded, gate, condition, weight), {"row": row, "position": position, "reach": REACH}


def joined(function, tensors, given, surface):
    encoded, gate, condition, weight = tensors
    return function(encoded, gate, condition, torso_weight=weight, surface=surface, **given)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_a_point_hears_as_far_as_it_is_reached(backend, generator):
    tensors, given = problem(generator, 6)
    encoded, gate, condition, weight = tensors
    found = joined(join_inputs, tensors, given, None)
    assert torch.equal(found[:, :COLUMNS], encoded)
    for point in range(6):
        height = given["position"][point, 1].item()
        for part in range(CONDITION):
            reach = sigmoid((2.0 - height) / 0.4) if part < 3 else sigmoid((height - 1.0) / 0.4)
            expected = (
                condition[given["row"][point], part].item()
                * reach
                * (1 - weight[point].item())
                * sigmoid(gate[point, part].item())
            )
            assert found[point, COLUMNS + part].item() == pytest.approx(expected, abs=1e-6)


def test_surface_features_say_how_far_and_what(backend, generator):
    """A tilted surface is interpolated exactly; the region is that of the cell."""
    axis = torch.linspace(-EXTENT, EXTENT, 9)
    regions = torch.zeros(8, 8, CLASSES)
    regions[5, 2, 3] = 1.0
    surface = RestSurface((0.5 * axis[None] - 0.25 * axis[:, None]).contiguous(), regions, EXTENT)
    # The middle of cell (row 5, column 2) of 8 over [-8, 8].
    position = torch.tensor([[-3.0, 3.0, 1.0], [1.3, -2.2, 0.0]])
    tensors, given = problem(generator, 2)
    found = joined(join_inputs, tensors, given | {"position": position}, surface)
    told = found[:, COLUMNS + CONDITION :]
    for point, (x, y, z) in enumerate(position.tolist()):
        above = z - (0.5 * x - 0.25 * y)
        near = (above / 4, math.tanh(above), math.exp(-above * above))
        assert told[point, :3].tolist() == pytest.approx(near, abs=1e-5)
    assert told[0, 3:].tolist() == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert told[1, 3:].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-6)


@pytest.mark.parametrize("points", [0, 1, 257])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("told", [True, False])
def test_implementations_agree_in_values_and_gradients(generator, points, dtype, told):
    tensors, given = problem(generator, points, dtype)
    surface = rest_surface(generator) if told else None
    results = []
    for function in (join_inputs, reference_join_inputs):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        found = joined(function, leaves, given, surface)
        along = torch.linspace(-1, 1, found.numel()).view(found.shape).to(found.dtype)
        results.append([found, *torch.autograd.grad(found, leaves, along)])
    exact = dtype == torch.float32
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        tolerance = {"rtol": 1e-4, "atol": 2e-5} if exact else {"rtol": 2e-2, "atol": 1e-2}
        torch.testing.assert_close(ours, theirs, **tolerance)


def test_the_references_gradients_are_right(generator):
    tensors, given = problem(generator, 3)
    leaves = [tensor.double().requires_grad_() for tensor in tensors]
    given["position"] = given["position"].double()
    assert torch.autograd.gradcheck(
        lambda *a: joined(reference_join_inputs, a, given, None), leaves
    )


@pytest.mark.parametrize("place", [[-1e9, 1e9, 0.0], [11.0, 0.0, 0.0], [0.0, -20.0, 0.0]])
def test_far_outside_there_is_no_region(backend, generator, place):
    tensors, given = problem(generator, 1)
    given["position"] = torch.tensor([place])
    told = joined(join_inputs, tensors, given, rest_surface(generator))[0, COLUMNS + CONDITION :]
    assert told[3:].tolist() == [0.0] * CLASSES


def test_what_is_no_number_stays_alone(backend, generator):
    """It must not be turned into an address, and no other point may notice."""
    tensors, given = problem(generator, 3)
    surface = rest_surface(generator)
    before = joined(join_inputs, tensors, given, surface)
    given["position"][1] = math.nan
    after = joined(join_inputs, tensors, given, surface)
    assert torch.equal(after[[0, 2]], before[[0, 2]])


def test_speech_reaches_the_mouth_and_blendshapes_the_brows():
    mouth, brow = reach_weights(torch.tensor([-3.0, 6.0]), REACH).tolist()
    assert mouth == pytest.approx([1, 0], abs=1e-3)
    assert brow == pytest.approx([0, 1], abs=1e-3)


def test_the_position_learns_nothing_through_the_surface(backend, generator):
    tensors, given = problem(generator, 4)
    given["position"].requires_grad_()
    tensors[0].requires_grad_()
    joined(join_inputs, tensors, given, rest_surface(generator)).sum().backward()
    assert given["position"].grad is None


def test_features_of_the_surface_are_those_of_the_reference(generator):
    surface = rest_surface(generator)
    tensors, given = problem(generator, 50)
    found = joined(join_inputs, tensors, given, surface)[:, COLUMNS + CONDITION :]
    expected = surface_features(given["position"], surface)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.refuses
def test_gate_and_condition_are_of_one_width(generator):
    (encoded, gate, condition, weight), given = problem(generator, 2)
    with pytest.raises(ValueError, match="the gate has 4 parts for a condition of 5 with 3"):
        joined(join_inputs, (encoded, gate[:, :4], condition, weight), given, None)
