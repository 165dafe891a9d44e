"""Compiled CPU kernels. Arguments are checked by the callers in this package, never here.

No kernel allocates. Each output element is written by one thread, so results do not depend on the
number of threads. Not-a-number is not optimised away (`nnan` is left out): a position that is not a
number reads node 0 instead of memory that is not ours.

`no_type_check` keeps the runtime shape hook of the tests out of code that it cannot read.
"""

from typing import no_type_check

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

_MATH = {"contract", "reassoc", "nsz", "arcp"}

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Bytes = NDArray[np.uint8]


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


@njit(parallel=True, fastmath=_MATH, cache=True)
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


@njit(parallel=True, fastmath=_MATH, cache=True)
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


@njit(parallel=True, fastmath=_MATH, cache=True)
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


@njit(parallel=True, fastmath=_MATH, cache=True)
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


@njit(parallel=True, fastmath=_MATH, cache=True)
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


@njit(cache=True)
@no_type_check
def group_pixels(labels: Bytes, classes: int, order: NDArray[np.int32], starts: Indices) -> None:
    """Counting sort of a flat label map: the pixels of class k are order[starts[k]:starts[k + 1]].

    Labels are below `classes`; order has one place per pixel, starts has classes + 1.
    """
    for k in range(classes + 1):
        starts[k] = 0
    for pixel in range(labels.shape[0]):
        starts[labels[pixel] + 1] += 1
    for k in range(classes):
        starts[k + 1] += starts[k]
    place = starts[:classes].copy()
    for pixel in range(labels.shape[0]):
        label = labels[pixel]
        order[place[label]] = pixel
        place[label] += 1


@njit(inline="always")
@no_type_check
def _spread(
    mask: Bytes, first: int, stride: int, count: int, threshold: int, radius: int, out: Bytes
) -> None:
    """Mark along one line every place within `radius` of a mask value above the threshold."""
    last = -radius - 1
    for place in range(count + radius):
        if place < count and mask[first + place * stride] > threshold:
            last = place
        if place >= radius and place - radius - radius <= last:
            # Everything seen up to `place` reaches back to place - radius.
            out[first + (place - radius) * stride] = 1


@njit(parallel=True, cache=True)
@no_type_check
def dilate(masks: Bytes, width: int, threshold: int, radius: int, rows: Bytes, out: Bytes) -> None:
    """Fill out[frame, pixel] with 1 within a square of `radius` px around mask values > threshold.

    masks, rows, out: (frames, pixels) uint8; rows is scratch. Both scratch and out must be zero.
    """
    height = masks.shape[1] // width
    for frame in prange(masks.shape[0]):
        for row in range(height):
            _spread(masks[frame], row * width, 1, width, threshold, radius, rows[frame])
        for column in range(width):
            _spread(rows[frame], column, width, height, 0, radius, out[frame])
