"""Compositing and its derivatives; see `ops.compositing`."""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from sspnerf.ops.numba_kernels.types import MATH, Floats


@njit(parallel=True, fastmath=MATH, cache=True)
@no_type_check
def composite_forward(
    density: Floats, t_delta: Floats, values: Floats,
    composited: Floats, transmittance: Floats, weights: Floats,
) -> None:  # fmt: skip
    """Fill composited[ray, channel], transmittance[ray] and weights[ray, sample]."""
    for ray in prange(density.shape[0]):
        for channel in range(values.shape[2]):
            composited[ray, channel] = 0
        remaining = np.float32(1)
        for sample in range(density.shape[1]):
            passes = np.exp(-density[ray, sample] * t_delta[ray, sample])
            weight = remaining * -np.expm1(-density[ray, sample] * t_delta[ray, sample])
            weights[ray, sample] = weight
            for channel in range(values.shape[2]):
                composited[ray, channel] += weight * values[ray, sample, channel]
            remaining *= passes
        transmittance[ray] = remaining


@njit(parallel=True, fastmath=MATH, cache=True)
@no_type_check
def composite_backward(
    t_delta: Floats, values: Floats, weights: Floats, transmittance: Floats,
    grad_composited: Floats, grad_transmittance: Floats,
    grad_density: Floats, grad_values: Floats,
) -> None:  # fmt: skip
    """Fill the gradients of density and values, walking each ray from its far end.

    dL/dsigma_i = delta_i (T_{i+1} <g, v_i> - sum_{j>i} w_j <g, v_j> - g_T T_end)
    """
    for ray in prange(weights.shape[0]):
        behind = grad_transmittance[ray] * transmittance[ray]
        # T_{i+1} = T_end + sum_{j>i} w_j: a sum of what is >= 0. Subtracting optical depths instead
        # would lose haze in front of a wall.
        after = transmittance[ray]
        for sample in range(weights.shape[1] - 1, -1, -1):
            weight = weights[ray, sample]
            along = np.float32(0)
            for channel in range(values.shape[2]):
                along += grad_composited[ray, channel] * values[ray, sample, channel]
                grad_values[ray, sample, channel] = grad_composited[ray, channel] * weight
            grad_density[ray, sample] = t_delta[ray, sample] * (after * along - behind)
            behind += weight * along
            after += weight
