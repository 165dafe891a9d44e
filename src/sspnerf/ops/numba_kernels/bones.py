"""Two bones blended, and what is added to them; see `ops.bones`."""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from sspnerf.ops.numba_kernels.exponential import HALF, ONE, sigmoid
from sspnerf.ops.numba_kernels.types import MATH, Floats, Indices

ZERO = np.float32(0)


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def blend_forward(
    told: Floats, head: Floats, torso: Floats, difference: Floats, row: Indices,
    neck_height: float, softness: float, position: Floats, weight: Floats, residual: Floats,
) -> None:  # fmt: skip
    """Fill position[point, axis], weight[point] and residual[point, axis]."""
    motions = difference.shape[1] if told.shape[1] > 1 else 0
    for point in prange(told.shape[0]):
        share = sigmoid(told[point, 0] + (neck_height - torso[point, 1]) / softness)
        weight[point] = share
        frame = row[point]
        for axis in range(3):
            moved = ZERO
            for motion in range(motions):
                moved += told[point, 1 + axis * motions + motion] * difference[frame, motion]
            moved *= share
            residual[point, axis] = moved
            apart = torso[point, axis] - head[point, axis]
            # From the nearer end, so that at either end nothing is rounded.
            if share < HALF:
                blended = head[point, axis] + share * apart
            else:
                blended = torso[point, axis] - (ONE - share) * apart
            position[point, axis] = blended + moved


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def blend_backward(
    told: Floats, head: Floats, torso: Floats, difference: Floats, row: Indices, weight: Floats,
    softness: float, grad_position: Floats, grad_weight: Floats, grad_residual: Floats,
    grad_told: Floats, grad_head: Floats, grad_torso: Floats,
) -> None:  # fmt: skip
    """Fill the gradients of what the network told, and of both positions."""
    motions = difference.shape[1] if told.shape[1] > 1 else 0
    for point in prange(told.shape[0]):
        share, along = weight[point], grad_weight[point]
        frame = row[point]
        for axis in range(3):
            grad = grad_position[point, axis]
            of_residual = grad + grad_residual[point, axis]
            along += grad * (torso[point, axis] - head[point, axis])
            grad_head[point, axis] = grad * (ONE - share)
            grad_torso[point, axis] = grad * share
            for motion in range(motions):
                place = 1 + axis * motions + motion
                along += of_residual * told[point, place] * difference[frame, motion]
                grad_told[point, place] = of_residual * share * difference[frame, motion]
        of_logit = along * share * (ONE - share)
        grad_told[point, 0] = of_logit
        grad_torso[point, 1] -= of_logit / softness
