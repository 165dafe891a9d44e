"""Compositing and its derivatives; see `ops.compositing`."""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from sspnerf.ops.numba_kernels.bfloat16 import Numbers, store, widen
from sspnerf.ops.numba_kernels.decay import decay
from sspnerf.ops.numba_kernels.types import MATH, Floats


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
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
            passes, absorbed = decay(density[ray, sample] * t_delta[ray, sample])
            weight = remaining * absorbed
            weights[ray, sample] = weight
            for channel in range(values.shape[2]):
                composited[ray, channel] += weight * values[ray, sample, channel]
            remaining *= passes
        transmittance[ray] = remaining


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
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


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def composite_portrait_forward(
    density: Floats, t_edges: Floats, color: Numbers, logits: Numbers, least: float,
    seen: Floats, parsed: Floats, transmittance: Floats, distance: Floats, weights: Floats,
) -> None:  # fmt: skip
    """Fill seen[ray, channel], parsed[ray, class], three arrays per ray and weights[ray, sample].

    distance[ray] is the mean of the samples' middles; `least` is the least sum it is divided by.
    """
    for ray in prange(density.shape[0]):
        for channel in range(color.shape[2]):
            seen[ray, channel] = 0
        for channel in range(logits.shape[2]):
            parsed[ray, channel] = 0
        remaining, total, away = np.float32(1), np.float32(0), np.float32(0)
        for sample in range(density.shape[1]):
            near, far = t_edges[ray, sample], t_edges[ray, sample + 1]
            passes, absorbed = decay(density[ray, sample] * (far - near))
            weight = remaining * absorbed
            weights[ray, sample] = weight
            for channel in range(color.shape[2]):
                seen[ray, channel] += weight * widen(color[ray, sample, channel])
            for channel in range(logits.shape[2]):
                parsed[ray, channel] += weight * widen(logits[ray, sample, channel])
            total += weight
            away += weight * np.float32(0.5) * (near + far)
            remaining *= passes
        transmittance[ray] = remaining
        distance[ray] = away / max(total, least)


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def composite_portrait_backward(
    t_edges: Floats, color: Numbers, logits: Numbers, weights: Floats, transmittance: Floats,
    grad_seen: Floats, grad_parsed: Floats, grad_transmittance: Floats, semantic_share: float,
    grad_density: Floats, grad_color: Numbers, grad_logits: Numbers,
) -> None:  # fmt: skip
    """Fill the gradients of density, color and logits as `composite_backward` does.

    Of what the logits say of the density only a share counts.
    """
    for ray in prange(weights.shape[0]):
        behind = grad_transmittance[ray] * transmittance[ray]
        after = transmittance[ray]
        for sample in range(weights.shape[1] - 1, -1, -1):
            weight = weights[ray, sample]
            along = np.float32(0)
            for channel in range(logits.shape[2]):
                grad = grad_parsed[ray, channel]
                along += grad * widen(logits[ray, sample, channel])
                store(grad * weight, grad_logits, ray, sample, channel)
            along *= semantic_share
            for channel in range(color.shape[2]):
                grad = grad_seen[ray, channel]
                along += grad * widen(color[ray, sample, channel])
                store(grad * weight, grad_color, ray, sample, channel)
            t_delta = t_edges[ray, sample + 1] - t_edges[ray, sample]
            grad_density[ray, sample] = t_delta * (after * along - behind)
            behind += weight * along
            after += weight
