"""What the networks of a field on plane grids read; see `ops.field_inputs`."""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from sspnerf.ops.numba_kernels.bfloat16 import Numbers, round_to, widen
from sspnerf.ops.numba_kernels.exponential import ONE, exponential, sigmoid
from sspnerf.ops.numba_kernels.types import MATH, Floats, Indices

HALF, ZERO = np.float32(0.5), np.float32(0)
QUARTER, TWO = np.float32(0.25), np.float32(2)


@njit(inline="always")
@no_type_check
def _reach(height: float, below: float, above: float, softness: float) -> tuple[float, float]:
    """Say how far speech and the upper face's blendshapes reach a height."""
    return sigmoid((below - height) / softness), sigmoid((height - above) / softness)


@njit(inline="always")
@no_type_check
def _corner(scaled: float, nodes: int) -> tuple[int, float]:
    """Return the node below a place in nodes, which may lie outside, and the part beyond."""
    # Far outside is as good as just outside, and fits an integer; so does what is no number.
    held = min(max(scaled, np.float32(-2)), np.float32(nodes + 1))
    low = np.floor(held) if held == held else np.float32(-2)
    return int(low), held - low


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def join_forward(
    encoded: Numbers, gate: Numbers, condition: Floats, row: Indices, torso_weight: Floats,
    position: Floats, speech_dim: int, below: float, above: float, softness: float, seen: Numbers,
) -> None:  # fmt: skip
    """Fill the first columns of seen[point]: what is stored there, and what is heard."""
    columns, parts = encoded.shape[1], gate.shape[1]
    for point in prange(encoded.shape[0]):
        for column in range(columns):
            seen[point, column] = encoded[point, column]
        speech, upper = _reach(position[point, 1], below, above, softness)
        listens = ONE - torso_weight[point]
        speech, upper = speech * listens, upper * listens
        driven_by = row[point]
        for part in range(parts):
            passes = sigmoid(widen(gate[point, part]))
            reach = speech if part < speech_dim else upper
            heard = condition[driven_by, part] * reach * passes
            seen[point, columns + part] = round_to(heard, seen)


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def join_backward(
    gate: Numbers, condition: Floats, row: Indices, torso_weight: Floats, position: Floats,
    speech_dim: int, below: float, above: float, softness: float, grad_seen: Numbers,
    columns: int, grad_gate: Numbers, grad_condition: Floats, grad_weight: Floats,
) -> None:  # fmt: skip
    """Fill the gradients of gate and torso weight, and of the condition, of each point apart."""
    parts = gate.shape[1]
    for point in prange(gate.shape[0]):
        speech, upper = _reach(position[point, 1], below, above, softness)
        listens = ONE - torso_weight[point]
        driven_by, weight = row[point], ZERO
        for part in range(parts):
            grad = widen(grad_seen[point, columns + part])
            passes = sigmoid(widen(gate[point, part]))
            reach = speech if part < speech_dim else upper
            told = condition[driven_by, part]
            open_reach = grad * reach * passes
            weight -= open_reach * told
            open_reach *= listens
            grad_condition[point, part] = open_reach
            grad_gate[point, part] = round_to(open_reach * told * (ONE - passes), grad_gate)
        grad_weight[point] = weight


@njit(parallel=True, fastmath=MATH, cache=True, nogil=True)
@no_type_check
def surface_forward(
    position: Floats, surface: Floats, regions: Floats, extent: float, first: int, seen: Numbers
) -> None:
    """Fill the last columns of seen[point]: where a point lies against the rest surface.

    surface is (nodes, nodes) with its first and last node on the border, regions (nodes, nodes,
    classes) with cells that end there and nothing beyond.
    """
    nodes, cells, classes = surface.shape[0], regions.shape[0], regions.shape[2]
    for point in prange(position.shape[0]):
        x, y = position[point, 0] / extent, position[point, 1] / extent
        # The surface: beyond the border the border's value holds.
        left, u = _corner((x * HALF + HALF) * np.float32(nodes - 1), nodes)
        top, v = _corner((y * HALF + HALF) * np.float32(nodes - 1), nodes)
        x0, x1 = min(max(left, 0), nodes - 1), min(max(left + 1, 0), nodes - 1)
        y0, y1 = min(max(top, 0), nodes - 1), min(max(top + 1, 0), nodes - 1)
        near = surface[y0, x0] + u * (surface[y0, x1] - surface[y0, x0])
        far = surface[y1, x0] + u * (surface[y1, x1] - surface[y1, x0])
        above = position[point, 2] - (near + v * (far - near))
        seen[point, first] = round_to(above * QUARTER, seen)
        # tanh, as the exponential is at hand.
        seen[point, first + 1] = round_to(ONE - TWO / (ONE + exponential(TWO * above)), seen)
        seen[point, first + 2] = round_to(exponential(-above * above), seen)
        left, u = _corner((x + ONE) * HALF * np.float32(cells) - HALF, cells)
        top, v = _corner((y + ONE) * HALF * np.float32(cells) - HALF, cells)
        x0, x1 = min(max(left, 0), cells - 1), min(max(left + 1, 0), cells - 1)
        y0, y1 = min(max(top, 0), cells - 1), min(max(top + 1, 0), cells - 1)
        w00, w10 = (ONE - u) * (ONE - v), u * (ONE - v)
        w01, w11 = (ONE - u) * v, u * v
        # Outside there is nothing.
        w00 *= (x0 == left) & (y0 == top)
        w10 *= (x1 == left + 1) & (y0 == top)
        w01 *= (x0 == left) & (y1 == top + 1)
        w11 *= (x1 == left + 1) & (y1 == top + 1)
        for k in range(classes):
            share = w00 * regions[y0, x0, k] + w10 * regions[y0, x1, k]
            share += w01 * regions[y1, x0, k] + w11 * regions[y1, x1, k]
            seen[point, first + 3 + k] = round_to(share, seen)
