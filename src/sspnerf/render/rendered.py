"""What rendering rays gives, whatever the architecture."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.ops.compositing import Composite

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
    seen: Composite, background: Float[Tensor, "*rays channels"]
) -> Float[Tensor, "rays channels"]:
    """Lay what was composited over what lies behind the last sample.

    Source: the colour of AD-NeRF's last sample is the known plate's (Guo et al. 2021); that its
        class is certain too is our reading of SSP-NeRF.
    """
    return seen.values + seen.transmittance[:, None] * background


def certain_background(device: torch.device) -> Float[Tensor, " classes"]:
    """Return the logits of what lies behind the last sample."""
    logits = torch.zeros(SEMANTIC_CLASSES, device=device)
    logits[SemanticClass.BACKGROUND] = BACKGROUND_LOGIT
    return logits
