"""Plane grids: lookup and its derivatives; see `ops.plane_grid`."""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from sspnerf.ops.numba_kernels.types import MATH, Floats, Indices


@njit(inline="always")
@no_type_check
def _cell(coordinate: float, resolution: int) -> tuple[int, float]:
    """Return the lower node of the cell that holds a coordinate of [-1, 1], and the part beyond."""
    scaled = (coordinate * np.float32(0.5) + np.float32(0.5)) * np.float32(resolution - 1)
    if not scaled > 0:
        return 0, np.float32(0)
    if scaled >= resolution - 1:
        return resolution - 2, np.float32(1)
    node = int(scaled)
    return node, np.float32(scaled - node)


@njit(parallel=True, fastmath=MATH, cache=True)
@no_type_check
def plane_grid_forward(
    positions: Floats, table: Floats, resolutions: Indices, offsets: Indices, features: int,
    out: Floats,
) -> None:  # fmt: skip
    """Fill out[point, (level, plane, feature)]; planes are xy, xz, yz."""
    for point in prange(positions.shape[0]):
        for level in range(resolutions.shape[0]):
            size = resolutions[level]
            for plane in range(3):
                column, u = _cell(positions[point, 0 if plane < 2 else 1], size)
                row, v = _cell(positions[point, 1 if plane == 0 else 2], size)
                base = offsets[level] + ((plane * size + row) * size + column) * features
                below = base + size * features
                w00, w10 = (1 - u) * (1 - v), u * (1 - v)
                w01, w11 = (1 - u) * v, u * v
                first = (level * 3 + plane) * features
                for k in range(features):
                    out[point, first + k] = (
                        w00 * table[base + k]
                        + w10 * table[base + features + k]
                        + w01 * table[below + k]
                        + w11 * table[below + features + k]
                    )


@njit(parallel=True, fastmath=MATH, cache=True)
@no_type_check
def plane_grid_table_backward(
    positions: Floats, grad: Floats, resolutions: Indices, offsets: Indices, features: int,
    grad_table: Floats,
) -> None:  # fmt: skip
    """Add to grad_table; one thread owns one plane of one level, so no atomics are needed."""
    planes = resolutions.shape[0] * 3
    for task in prange(planes):
        # Neighbouring tasks go to one thread: deal the levels out, so that each gets some of all.
        level, plane = task % resolutions.shape[0], task // resolutions.shape[0]
        size = resolutions[level]
        first = (level * 3 + plane) * features
        for point in range(positions.shape[0]):
            column, u = _cell(positions[point, 0 if plane < 2 else 1], size)
            row, v = _cell(positions[point, 1 if plane == 0 else 2], size)
            base = offsets[level] + ((plane * size + row) * size + column) * features
            below = base + size * features
            w00, w10 = (1 - u) * (1 - v), u * (1 - v)
            w01, w11 = (1 - u) * v, u * v
            for k in range(features):
                g = grad[point, first + k]
                grad_table[base + k] += w00 * g
                grad_table[base + features + k] += w10 * g
                grad_table[below + k] += w01 * g
                grad_table[below + features + k] += w11 * g


@njit(parallel=True, fastmath=MATH, cache=True)
@no_type_check
def plane_grid_position_backward(
    positions: Floats, grad: Floats, table: Floats, resolutions: Indices, offsets: Indices,
    features: int, grad_positions: Floats,
) -> None:  # fmt: skip
    """Fill grad_positions[point, axis]; outside [-1, 1] the lookup is flat."""
    for point in prange(positions.shape[0]):
        # Three plain numbers: an array here would be allocated for every point.
        along_x, along_y, along_z = np.float32(0), np.float32(0), np.float32(0)
        for level in range(resolutions.shape[0]):
            size = resolutions[level]
            scale = np.float32(0.5) * np.float32(size - 1)
            for plane in range(3):
                a, b = (0 if plane < 2 else 1), (1 if plane == 0 else 2)
                column, u = _cell(positions[point, a], size)
                row, v = _cell(positions[point, b], size)
                base = offsets[level] + ((plane * size + row) * size + column) * features
                below = base + size * features
                first = (level * 3 + plane) * features
                along_u, along_v = np.float32(0), np.float32(0)
                for k in range(features):
                    g = grad[point, first + k]
                    t00, t10 = table[base + k], table[base + features + k]
                    t01, t11 = table[below + k], table[below + features + k]
                    along_u += g * ((1 - v) * (t10 - t00) + v * (t11 - t01))
                    along_v += g * ((1 - u) * (t01 - t00) + u * (t11 - t10))
                if plane == 0:
                    along_x += scale * along_u
                    along_y += scale * along_v
                elif plane == 1:
                    along_x += scale * along_u
                    along_z += scale * along_v
                else:
                    along_y += scale * along_u
                    along_z += scale * along_v
        grad_positions[point, 0] = along_x if abs(positions[point, 0]) < 1 else np.float32(0)
        grad_positions[point, 1] = along_y if abs(positions[point, 1]) < 1 else np.float32(0)
        grad_positions[point, 2] = along_z if abs(positions[point, 2]) < 1 else np.float32(0)
