"""Losses by hand."""

import math

import pytest
import torch

from sspnerf.train.losses import mask_loss, photometric_loss, semantic_loss, still_loss


def test_photometric_loss_is_one_number_per_ray():
    color = torch.tensor([[0.5, 0.5, 0.5], [1.0, 0.0, 0.2]])
    truth = torch.tensor([[0.5, 0.2, 0.5], [0.0, 0.0, 0.2]])
    torch.testing.assert_close(photometric_loss(color, truth), torch.tensor([0.03, 1 / 3]))


def test_semantic_loss_is_the_surprise_in_nats():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    expected = torch.tensor([-math.log(0.2), -math.log(0.8)])
    torch.testing.assert_close(semantic_loss(logits, torch.tensor([1, 2])), expected)


def test_semantic_loss_pulls_the_right_logit_up():
    logits = torch.zeros(1, 3, requires_grad=True)
    semantic_loss(logits, torch.tensor([2])).sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[1 / 3, 1 / 3, -2 / 3]]))


def test_mask_loss_pulls_towards_the_mask():
    accumulation = torch.tensor([0.2, 0.9], requires_grad=True)
    mask_loss(accumulation, torch.tensor([1.0, 0.5])).sum().backward()
    torch.testing.assert_close(accumulation.grad, torch.tensor([-1.6, 0.8]))


def test_only_the_heads_deformation_is_held_still():
    offset = torch.tensor([[[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]], [[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]]])
    offset.requires_grad_()
    loss = still_loss(offset, torch.tensor([True, False]))
    # The head's ray: mean over its samples of 9 and 0; the other counts as zero.
    assert loss.item() == pytest.approx(4.5 / 2)
    loss.backward()
    assert offset.grad[0, 0].tolist() == [0.5, 1.0, 1.0]
    assert not offset.grad[1].any()
