"""Plane grids: lookup and its derivatives; see `ops.plane_grid`.

Each kernel is compiled anew for each number of features: loops of a known length become vectors,
which makes the lookup twice as fast.
"""

import functools
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import get_num_threads, njit, prange

from sspnerf.ops.numba_kernels.bfloat16 import Numbers, round_to, widen
from sspnerf.ops.numba_kernels.types import MATH, Floats, Indices

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
# Points whose gradients stay in the cache while one plane after the other collects them.
BLOCK = 512

Kernel = Callable[..., None]


@njit(inline="always")
@no_type_check
def _cell(coordinate: float, resolution: int) -> tuple[int, float]:
    """Return the lower node of the cell that holds a coordinate of [-1, 1], and the part beyond."""
    scaled = (coordinate * HALF + HALF) * np.float32(resolution - 1)
    if not scaled > 0:
        return 0, ZERO
    if scaled >= resolution - 1:
        return resolution - 2, ONE
    node = int(scaled)
    return node, np.float32(scaled - node)


@njit(inline="always")
@no_type_check
def _choose(plane: int, along_xy: Any, along_xz: Any, along_yz: Any) -> Any:  # noqa: ANN401
    """Return what belongs to a plane: xy, xz, yz."""
    return along_xy if plane == 0 else (along_xz if plane == 1 else along_yz)


@functools.cache
def _forward_of(features: int) -> Kernel:
    """Return the kernel for a number of features."""

    @njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
    @no_type_check
    def forward(
        positions: Floats, table: Floats, resolutions: Indices, offsets: Indices, out: Numbers
    ) -> None:
        for point in prange(positions.shape[0]):
            for level in range(resolutions.shape[0]):
                size = resolutions[level]
                line = size * features
                x, of_x = _cell(positions[point, 0], size)
                y, of_y = _cell(positions[point, 1], size)
                z, of_z = _cell(positions[point, 2], size)
                for plane in range(3):
                    u, v = _choose(plane, of_x, of_x, of_y), _choose(plane, of_y, of_z, of_z)
                    column, row = _choose(plane, x, x, y), _choose(plane, y, z, z)
                    base = offsets[level] + (plane * size + row) * line + column * features
                    below = base + line
                    w11 = u * v
                    w10, w01 = u - w11, v - w11
                    w00 = ONE - u - w01
                    first = (level * 3 + plane) * features
                    for k in range(features):
                        found = (
                            w00 * table[base + k]
                            + w10 * table[base + features + k]
                            + w01 * table[below + k]
                            + w11 * table[below + features + k]
                        )
                        out[point, first + k] = round_to(found, out)

    kernel: Kernel = forward
    return kernel


@functools.cache
def _table_backward_of(features: int) -> Kernel:
    """Return the kernel for a number of features.

    One task owns the planes task, task + tasks, ..., so no atomics are needed and the sums do not
    depend on how many tasks there are.
    """

    @njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
    @no_type_check
    def backward(
        positions: Floats, grad: Numbers, resolutions: Indices, offsets: Indices, tasks: int,
        grad_table: Floats,
    ) -> None:  # fmt: skip
        points, levels = positions.shape[0], resolutions.shape[0]
        for task in prange(tasks):
            for start in range(0, points, BLOCK):
                for owned in range(task, 3 * levels, tasks):
                    # Neighbours in this count are of different levels: each task gets some of all.
                    level, plane = owned % levels, owned // levels
                    size = resolutions[level]
                    line = size * features
                    origin = offsets[level] + plane * size * line
                    first = (level * 3 + plane) * features
                    a, b = (0 if plane < 2 else 1), (1 if plane == 0 else 2)
                    for point in range(start, min(points, start + BLOCK)):
                        column, u = _cell(positions[point, a], size)
                        row, v = _cell(positions[point, b], size)
                        base = origin + row * line + column * features
                        below = base + line
                        w11 = u * v
                        w10, w01 = u - w11, v - w11
                        w00 = ONE - u - w01
                        for k in range(features):
                            g = widen(grad[point, first + k])
                            grad_table[base + k] += w00 * g
                            grad_table[base + features + k] += w10 * g
                            grad_table[below + k] += w01 * g
                            grad_table[below + features + k] += w11 * g

    kernel: Kernel = backward
    return kernel


@functools.cache
def _position_backward_of(features: int) -> Kernel:
    """Return the kernel for a number of features."""

    @njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
    @no_type_check
    def backward(
        positions: Floats, grad: Numbers, table: Floats, resolutions: Indices, offsets: Indices,
        grad_positions: Floats,
    ) -> None:  # fmt: skip
        for point in prange(positions.shape[0]):
            # Three plain numbers: an array here would be allocated for every point.
            along_x, along_y, along_z = ZERO, ZERO, ZERO
            for level in range(resolutions.shape[0]):
                size = resolutions[level]
                line, scale = size * features, HALF * np.float32(size - 1)
                x, of_x = _cell(positions[point, 0], size)
                y, of_y = _cell(positions[point, 1], size)
                z, of_z = _cell(positions[point, 2], size)
                for plane in range(3):
                    u, v = _choose(plane, of_x, of_x, of_y), _choose(plane, of_y, of_z, of_z)
                    column, row = _choose(plane, x, x, y), _choose(plane, y, z, z)
                    base = offsets[level] + (plane * size + row) * line + column * features
                    below = base + line
                    first = (level * 3 + plane) * features
                    along_u, along_v = ZERO, ZERO
                    for k in range(features):
                        g = widen(grad[point, first + k])
                        t00, t10 = table[base + k], table[base + features + k]
                        t01, t11 = table[below + k], table[below + features + k]
                        across = (t11 - t01) - (t10 - t00)
                        along_u += g * ((t10 - t00) + v * across)
                        along_v += g * ((t01 - t00) + u * across)
                    along_u, along_v = scale * along_u, scale * along_v
                    along_x += along_u if plane < 2 else ZERO
                    along_y += _choose(plane, along_v, ZERO, along_u)
                    along_z += along_v if plane > 0 else ZERO
            grad_positions[point, 0] = along_x if abs(positions[point, 0]) < 1 else ZERO
            grad_positions[point, 1] = along_y if abs(positions[point, 1]) < 1 else ZERO
            grad_positions[point, 2] = along_z if abs(positions[point, 2]) < 1 else ZERO

    kernel: Kernel = backward
    return kernel


def plane_grid_forward(
    positions: Floats, table: Floats, resolutions: Indices, offsets: Indices, features: int,
    out: Numbers,
) -> None:  # fmt: skip
    """Fill out[point, (level, plane, feature)]; planes are xy, xz, yz."""
    _forward_of(features)(positions, table, resolutions, offsets, out)


def plane_grid_table_backward(
    positions: Floats, grad: Numbers, resolutions: Indices, offsets: Indices, features: int,
    grad_table: Floats,
) -> None:  # fmt: skip
    """Add to grad_table."""
    tasks = min(get_num_threads(), 3 * len(resolutions))
    kernel = _table_backward_of(features)
    kernel(positions, grad, resolutions, offsets, tasks, grad_table)


def plane_grid_position_backward(
    positions: Floats, grad: Numbers, table: Floats, resolutions: Indices, offsets: Indices,
    features: int, grad_positions: Floats,
) -> None:  # fmt: skip
    """Fill grad_positions[point, axis]; outside [-1, 1] the lookup is flat."""
    kernel = _position_backward_of(features)
    kernel(positions, grad, table, resolutions, offsets, grad_positions)
