"""What rendering rays gives, whatever the architecture."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass

# What lies behind the last sample is the background, and this certain of its class (softmax:
# 0.9967).
BACKGROUND_LOGIT = 8.0


class Portrayed(NamedTuple):
    """What one field makes of rays: what is compared with the truth."""

    color: Tensor
    """Person over background, RGB in [0, 1]. Shape (rays, 3)."""
    logits: Tensor
    """Composited semantic logits, before softmax. Shape (rays, classes)."""


class RenderedRays(NamedTuple):
    """What rays see."""

    color: Tensor
    """Person over background, RGB in [0, 1]. Shape (rays, 3)."""
    logits: Tensor
    """Composited semantic logits, before softmax. Shape (rays, classes)."""
    accumulation: Tensor
    """How much of the light the person absorbs, [0, 1]. Shape (rays,)."""
    distance: Tensor
    """Mean distance of what is seen of the person, cm; no gradient. Shape (rays,)."""
    residual: Tensor
    """What the torso deformation's network adds, cm. Shape (rays, samples, 3)."""
    offset: Tensor
    """All of the deformation of what the head would see, cm. Shape (rays, samples, 3)."""
    coarse: Portrayed | None = None
    """The same from the coarse field, where there is one."""


def over_background(
    color: Float[Tensor, "rays 3"],
    logits: Float[Tensor, "rays classes"],
    transmittance: Float[Tensor, " rays"],
    *,
    background: Float[Tensor, "rays 3"],
) -> Portrayed:
    """Lay what was composited over the plate: the last sample of every ray is the background.

    Source: the colour of AD-NeRF's last sample is the known plate's (Guo et al. 2021); that its
        class is certain too is our reading of SSP-NeRF.
    """
    behind = transmittance[:, None]
    certain = torch.zeros(SEMANTIC_CLASSES, device=behind.device)
    certain[SemanticClass.BACKGROUND] = BACKGROUND_LOGIT
    return Portrayed(color + behind * background, logits + behind * certain)
