"""What learned pose corrections have in common: told from the pose and the face, for any frame.

Tracking errs in the same way in the same situation: a raised brow looks a little like a head that
tilts. What training frames were corrected by is learned as a linear function of poses and
blendshapes, and corrects the frames that were never trained on as well.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

# Frames in a row that are predicted from all others, to see what the prediction is worth.
FOLDS = 11
# Ridge: what moves by less than this share of its usual size says little.
RIDGE = 0.1
SPREAD_MIN = 1e-3
# What explains less of the corrections than this is noise.
LEAST_EXPLAINED = 0.1
# Predictions are averaged over neighbours, as poses must not shake.
KERNEL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def predict_corrections(
    corrections: Float[Tensor, "training 6"],
    situation: Float[Tensor, "frames inputs"],
    *,
    cuts: Sequence[int] = (),
) -> Float[Tensor, "frames 6"]:
    """Predict the corrections of all frames from those of the training frames.

    Each of the six numbers counts by how much of it is explained in frames that the prediction was
    not fitted to (cross-validated R squared over blocks of frames); below a tenth it is left alone,
    and so is everything where there are hardly more frames than blocks.

    Args:
        corrections: Rotation vectors, radians, and shifts, cm, of the first frames.
            Shape (training, 6).
        situation: What is known of every frame. Shape (frames, inputs).
        cuts: First frames after a cut; nothing is averaged across them.

    Returns:
        Corrections with mean zero over the training frames. Shape (frames, 6).
    """
    training = len(corrections)
    if training < 2 * FOLDS:
        return corrections.new_zeros(len(situation), 6)
    known = situation[:training].double()
    mean, spread = known.mean(dim=0), known.std(dim=0, correction=0)
    scaled = (situation.double() - mean) / (spread + SPREAD_MIN)
    target = corrections.double() - corrections.double().mean(dim=0)
    explained = _explained(scaled[:training], target)
    weight = torch.where(explained >= LEAST_EXPLAINED, explained, 0.0)
    predicted = scaled @ _fit(scaled[:training], target) * weight
    return _smooth(predicted, cuts).to(corrections.dtype)


def _fit(inputs: Tensor, target: Tensor) -> Tensor:
    """Return the ridge regression's weights; inputs and target have mean zero."""
    size = inputs.shape[1]
    ridge = RIDGE * len(inputs) * torch.eye(size, dtype=inputs.dtype)
    weights: Tensor = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ target)
    return weights


def _explained(inputs: Tensor, target: Tensor) -> Tensor:
    """Return the share of each column that is explained in frames left out. Shape (6,)."""
    fold = torch.arange(len(inputs)) * FOLDS // max(1, len(inputs))
    error = torch.empty_like(target)
    for left_out in range(FOLDS):
        out = fold == left_out
        error[out] = target[out] - inputs[out] @ _fit(inputs[~out], target[~out])
    total = target.square().sum(dim=0)
    return 1 - error.square().sum(dim=0) / total.clamp(min=1e-12)


def _smooth(values: Tensor, cuts: Sequence[int]) -> Tensor:
    """Average over neighbouring frames of the same piece."""
    smooth, reach = torch.empty_like(values), len(KERNEL) // 2
    for begin, end in pairwise((0, *cuts, len(values))):
        place = torch.arange(begin, end)[:, None] + torch.arange(-reach, reach + 1)
        held = place.clamp(begin, end - 1)
        smooth[begin:end] = (values[held] * KERNEL.to(values.dtype)[:, None]).sum(dim=1)
    return smooth
