"""Blended bones: against the formula by hand, each implementation, and their derivatives."""

import math

import pytest
import torch

from sspnerf.ops.bones import MOTIONS, blend_bones, reference_blend_bones

NECK, SOFTNESS = -1.5, 0.7


def problem(generator, points, told, dtype=torch.float32):
    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    frames = 3
    row = torch.randint(0, frames, (points,), generator=generator)
    given = {"difference": random(frames, MOTIONS), "row": row}
    given |= {"neck_height": NECK, "softness": SOFTNESS}
    return (random(points, told), random(points, 3), random(points, 3)), given


@pytest.mark.parametrize("told", [1, 19])
def test_points_lie_where_the_formula_says(backend, generator, told):
    (numbers, head, torso), given = problem(generator, 5, told)
    found = blend_bones(numbers, head, torso, **given)
    for point in range(5):
        said, height = numbers[point].tolist(), torso[point, 1].item()
        weight = 1 / (1 + math.exp(-said[0] - (NECK - height) / SOFTNESS))
        assert found.weight[point].item() == pytest.approx(weight, rel=1e-5)
        motion = given["difference"][given["row"][point]].tolist()
        for axis in range(3):
            added = 0.0
            if told > 1:
                rows = said[1 + 6 * axis : 7 + 6 * axis]
                added = weight * sum(a * b for a, b in zip(rows, motion, strict=True))
            at_head, at_torso = head[point, axis].item(), torso[point, axis].item()
            between = at_head + weight * (at_torso - at_head)
            assert found.residual[point, axis].item() == pytest.approx(added, abs=1e-5)
            assert found.position[point, axis].item() == pytest.approx(between + added, abs=1e-5)


@pytest.mark.parametrize("points", [0, 1, 333])
@pytest.mark.parametrize("told", [1, 19])
def test_implementations_agree_in_values_and_gradients(generator, points, told):
    inputs, given = problem(generator, points, told)
    cotangents = [torch.randn(points, *axes, generator=generator) for axes in ((3,), (), (3,))]
    results = []
    for function in (blend_bones, reference_blend_bones):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        found = function(*leaves, **given)
        total = sum((part * along).sum() for part, along in zip(found, cotangents, strict=True))
        results.append([*found, *torch.autograd.grad(total, leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_references_gradients_are_right(generator):
    inputs, given = problem(generator, 4, 19, torch.float64)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(lambda *a: tuple(reference_blend_bones(*a, **given)), leaves)


def test_no_gradient_reaches_the_difference(backend, generator):
    (numbers, head, torso), given = problem(generator, 4, 19)
    given["difference"].requires_grad_()
    found = blend_bones(numbers.requires_grad_(), head, torso, **given)
    found.position.sum().backward()
    assert given["difference"].grad is None
    assert numbers.grad.abs().max() > 0


@pytest.mark.refuses
def test_what_is_told_has_a_known_width(generator):
    (_, head, torso), given = problem(generator, 4, 19)
    with pytest.raises(ValueError, match="told has 7 columns; expected 1 or 19"):
        blend_bones(torch.zeros(4, 7), head, torso, **given)
