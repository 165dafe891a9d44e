"""Rays around a height field; see `ops.band`."""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from sspnerf.ops.numba_kernels.exponential import sigmoid
from sspnerf.ops.numba_kernels.types import MATH, Floats
from sspnerf.ops.surface_steps import DAMPING, FIXED_POINT_STEPS, LEAST_SLOPE

_DAMPING, _LEAST_SLOPE = np.float32(DAMPING), np.float32(LEAST_SLOPE)
# Rays that a thread takes at a time. The compiler works on 16 rays at once in a plain loop, but not
# in one over the parallel index: three times as fast.
_BLOCK = 256
_HALF, _ONE = np.float32(0.5), np.float32(1)


@njit(inline="always")
@no_type_check
def _height(surface: Floats, nodes: int, column: float, row: float) -> float:
    """Read the surface between nodes; beyond the border its value holds, no number reads node 0.

    Conditions only choose, and places are unsigned: so the compiler takes many rays at once.
    """
    last, most = np.float32(nodes - 1), np.int32(nodes - 2)
    column, row = column if column > 0 else np.float32(0), row if row > 0 else np.float32(0)
    column, row = column if column < last else last, row if row < last else last
    left, below = np.int32(column), np.int32(row)
    left, below = left if left < most else most, below if below < most else most
    u, v = column - np.float32(left), row - np.float32(below)
    place = np.uint64(below * nodes + left)
    above = place + np.uint64(nodes)
    near = surface[place] + u * (surface[place + np.uint64(1)] - surface[place])
    far = surface[above] + u * (surface[above + np.uint64(1)] - surface[above])
    return near + v * (far - near)


@njit(inline="always")
@no_type_check
def _hit(
    surface: Floats, nodes: int, origin: Floats, direction: Floats, ray: int, extent: float
) -> float:
    """Return the distance at which a ray meets the surface."""
    middle = _HALF * np.float32(nodes - 1)
    scale = middle / extent
    slope = direction[ray, 2] if direction[ray, 2] < _LEAST_SLOPE else _LEAST_SLOPE
    per_slope = _ONE / slope
    height = np.float32(0)
    for step in range(FIXED_POINT_STEPS):
        distance = (height - origin[ray, 2]) * per_slope
        column = (origin[ray, 0] + distance * direction[ray, 0]) * scale + middle
        row = (origin[ray, 1] + distance * direction[ray, 1]) * scale + middle
        found = _height(surface, nodes, column, row)
        height += (_ONE if step == 0 else _DAMPING) * (found - height)
    return (height - origin[ray, 2]) * per_slope


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def hit_surface(
    surface: Floats, nodes: int, origin: Floats, direction: Floats, extent: float, distance: Floats
) -> None:
    """Fill distance[ray]; the surface is flat: (row, column)."""
    rays = origin.shape[0]
    for block in prange((rays + _BLOCK - 1) // _BLOCK):
        first = np.int64(block) * _BLOCK
        for ray in range(first, min(first + _BLOCK, rays)):
            distance[ray] = _hit(surface, nodes, origin, direction, ray, extent)


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def place_rays(
    surface: Floats, nodes: int, origin: Floats, direction: Floats, torso_origin: Floats,
    torso_direction: Floats, extent: float, neck_height: float, neck_softness: float,
    distance: Floats, canonical: Floats,
) -> None:  # fmt: skip
    """Fill distance[ray] and canonical[ray, (x, y)]; the surface is flat: (row, column)."""
    rays = origin.shape[0]
    for block in prange((rays + _BLOCK - 1) // _BLOCK):
        first = np.int64(block) * _BLOCK
        for ray in range(first, min(first + _BLOCK, rays)):
            distance[ray] = _hit(surface, nodes, origin, direction, ray, extent)
        for ray in range(first, min(first + _BLOCK, rays)):
            as_torso = _hit(surface, nodes, torso_origin, torso_direction, ray, extent)
            canonical[ray, 0] = as_torso
        for ray in range(first, min(first + _BLOCK, rays)):
            t, as_torso = distance[ray], canonical[ray, 0]
            height = torso_origin[ray, 1] + as_torso * torso_direction[ray, 1]
            t += sigmoid((neck_height - height) / neck_softness) * (as_torso - t)
            x = origin[ray, 0] + t * direction[ray, 0]
            y = origin[ray, 1] + t * direction[ray, 1]
            torso_x = torso_origin[ray, 0] + t * torso_direction[ray, 0]
            torso_y = torso_origin[ray, 1] + t * torso_direction[ray, 1]
            weight = sigmoid((neck_height - torso_y) / neck_softness)
            distance[ray] = t
            canonical[ray, 0] = x + weight * (torso_x - x)
            canonical[ray, 1] = y + weight * (torso_y - y)


@njit(inline="always")
@no_type_check
def _of_ray(values: Floats, ray: int) -> float:
    """Read one number per ray, or the one for all."""
    if values.shape[0] > 1:
        return values[ray]
    return values[0]


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def band_points(
    distance: Floats, origin: Floats, direction: Floats, torso_origin: Floats,
    torso_direction: Floats, front: Floats, back: Floats, shift: Floats,
    t_edges: Floats, head: Floats, torso: Floats,
) -> None:  # fmt: skip
    """Fill t_edges[ray, edge] and the middles head, torso[ray, sample, axis].

    front, back and shift hold one number per ray or one for all.
    """
    samples = head.shape[1]
    for ray in prange(origin.shape[0]):
        ahead = _of_ray(front, ray)
        length = (ahead + _of_ray(back, ray)) / np.float32(samples)
        near = distance[ray] - ahead
        moved = _of_ray(shift, ray)
        edge = near + length * moved
        t_edges[ray, 0] = edge
        for sample in range(samples):
            next_edge = near + length * (np.float32(sample + 1) + moved)
            t_edges[ray, sample + 1] = next_edge
            t = _HALF * (edge + next_edge)
            edge = next_edge
            for axis in range(3):
                head[ray, sample, axis] = origin[ray, axis] + t * direction[ray, axis]
                torso[ray, sample, axis] = torso_origin[ray, axis] + t * torso_direction[ray, axis]


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def band_points_backward(
    t_edges: Floats, grad: Floats, grad_origin: Floats, grad_direction: Floats
) -> None:
    """Fill the gradients of one bone's rays from those of its points."""
    for ray in prange(grad.shape[0]):
        for axis in range(3):
            still, along = np.float32(0), np.float32(0)
            for sample in range(grad.shape[1]):
                g = grad[ray, sample, axis]
                still += g
                along += g * _HALF * (t_edges[ray, sample] + t_edges[ray, sample + 1])
            grad_origin[ray, axis] = still
            grad_direction[ray, axis] = along
