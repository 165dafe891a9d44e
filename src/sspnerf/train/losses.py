"""What a step is asked to make small; each function gives one number per ray, or a penalty.

L = L_p + semantic_weight L_s + mask_weight L_m + penalties; L_p and L_s count coarse and fine.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def photometric_loss(
    color: Float[Tensor, "rays 3"], truth: Float[Tensor, "rays 3"]
) -> Float[Tensor, " rays"]:
    """Return the squared difference of colors, averaged over the channels.

    Example:
        >>> photometric_loss(torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 3))
        tensor([0.3333])

    Source: L_p of Liu et al. 2022 (arXiv:2201.07786), as in Mildenhall et al. 2020, eq. 6.
    """
    return (color - truth).square().mean(dim=-1)


def semantic_loss(
    logits: Float[Tensor, "rays classes"], labels: Int[Tensor, " rays"]
) -> Float[Tensor, " rays"]:
    """Return the cross entropy between composited logits and the parsing's classes, in nats.

    Example:
        >>> semantic_loss(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.3863])

    Source: L_s of Liu et al. 2022 (arXiv:2201.07786); softmax after compositing as in Zhi et al.
        2021 (arXiv:2103.15875), eq. 5.
    """
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def mask_loss(
    accumulation: Float[Tensor, " rays"], mask: Float[Tensor, " rays"]
) -> Float[Tensor, " rays"]:
    """Return the squared difference of accumulation and person mask.

    Without it the field may stay transparent wherever the plate resembles the person.
    """
    return (accumulation - mask).square()


def still_loss(
    offset: Float[Tensor, "rays samples 3"], is_head: Bool[Tensor, " rays"]
) -> Float[Tensor, ""]:
    """Return how far the deformation moves what belongs to the head, cm squared.

    The mean over all rays of the squared offsets of the head's rays.

    Example:
        >>> offset = torch.tensor([[[3.0, 0.0, 4.0]], [[9.0, 9.0, 9.0]]])
        >>> still_loss(offset, torch.tensor([True, False]))
        tensor(12.5000)
    """
    squared = offset.square().sum(dim=-1).mean(dim=-1)
    return (squared * is_head).mean()
