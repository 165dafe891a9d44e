"""Plane grids: lookup and its derivatives; see `ops.plane_grid`."""

import functools
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from sspnerf.ops.triton_kernels.launch import launch
from sspnerf.ops.triton_kernels.types import Block, Pointer, Scalar

POINTS = 128
"""Points that one program reads at a time."""
PAIRS = 512
"""Node-point pairs that one program sums at a time."""


@triton.jit
@no_type_check
def _cell(coordinate: Block, size: Scalar) -> tuple[Block, Block]:
    """Return the lower node of the cell that holds a coordinate of [-1, 1], and the part beyond."""
    scaled = (coordinate * 0.5 + 0.5) * (size - 1)
    # What is not a number is not greater either: it reads node 0, not memory that is not ours.
    scaled = tl.minimum(tl.where(scaled > 0, scaled, 0.0), (size - 1) * 1.0)
    node = tl.minimum(scaled.to(tl.int32), size - 2)
    return node, scaled - node


@triton.jit
@no_type_check
def _position(positions: Pointer, point: Block, is_point: Block) -> tuple[Block, Block, Block]:
    """Read x, y and z of points."""
    x = tl.load(positions + point * 3, mask=is_point, other=0.0)
    y = tl.load(positions + point * 3 + 1, mask=is_point, other=0.0)
    return x, y, tl.load(positions + point * 3 + 2, mask=is_point, other=0.0)


@triton.jit
@no_type_check
def _forward(
    positions: Pointer, table: Pointer, sizes: Pointer, offsets: Pointer, out: Pointer,
    points: Scalar, levels: Scalar,
    POINTS: tl.constexpr, FEATURES: tl.constexpr, WIDTH: tl.constexpr,
) -> None:  # fmt: skip
    """One program: one plane of one level at a block of points."""
    planes = levels * 3
    task = tl.program_id(0) % planes
    level, plane = task // 3, task % 3
    point = (tl.program_id(0) // planes).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    k = tl.arange(0, WIDTH)[None, :]
    is_point = point < points
    is_read = is_point[:, None] & (k < FEATURES)

    size, offset = tl.load(sizes + level), tl.load(offsets + level)
    x = tl.load(positions + point * 3 + tl.where(plane < 2, 0, 1), mask=is_point, other=0.0)
    y = tl.load(positions + point * 3 + tl.where(plane == 0, 1, 2), mask=is_point, other=0.0)
    column, u = _cell(x, size)
    row, v = _cell(y, size)
    node = offset + (plane * size + row) * size + column
    base = table + node[:, None] * FEATURES + k
    below = base + size * FEATURES
    u, v = u[:, None], v[:, None]
    found = (1 - u) * (1 - v) * tl.load(base, mask=is_read, other=0.0)
    found += u * (1 - v) * tl.load(base + FEATURES, mask=is_read, other=0.0)
    found += (1 - u) * v * tl.load(below, mask=is_read, other=0.0)
    found += u * v * tl.load(below + FEATURES, mask=is_read, other=0.0)
    tl.store(out + (point[:, None] * planes + task) * FEATURES + k, found, mask=is_read)


@triton.jit
@no_type_check
def _position_backward(
    positions: Pointer, grad: Pointer, table: Pointer, sizes: Pointer, offsets: Pointer,
    grad_positions: Pointer, points: Scalar, levels: Scalar,
    POINTS: tl.constexpr, FEATURES: tl.constexpr, WIDTH: tl.constexpr,
) -> None:  # fmt: skip
    """One program: a block of points, all levels and planes."""
    point = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    k = tl.arange(0, WIDTH)[None, :]
    is_point = point < points
    is_read = is_point[:, None] & (k < FEATURES)
    x, y, z = _position(positions, point, is_point)
    along_x = tl.zeros((POINTS,), tl.float32)
    along_y = tl.zeros((POINTS,), tl.float32)
    along_z = tl.zeros((POINTS,), tl.float32)
    for level in range(levels):
        size, offset = tl.load(sizes + level), tl.load(offsets + level)
        scale = (size - 1) * 0.5
        for plane in tl.static_range(3):
            column, u = _cell(x if plane < 2 else y, size)
            row, v = _cell(y if plane == 0 else z, size)
            node = offset + (plane * size + row) * size + column
            base = table + node[:, None] * FEATURES + k
            below = base + size * FEATURES
            t00 = tl.load(base, mask=is_read, other=0.0)
            t10 = tl.load(base + FEATURES, mask=is_read, other=0.0)
            t01 = tl.load(below, mask=is_read, other=0.0)
            t11 = tl.load(below + FEATURES, mask=is_read, other=0.0)
            first = (point[:, None] * levels + level) * 3 + plane
            g = tl.load(grad + first * FEATURES + k, mask=is_read, other=0.0).to(tl.float32)
            u, v = u[:, None], v[:, None]
            along_u = scale * tl.sum(g * ((1 - v) * (t10 - t00) + v * (t11 - t01)), axis=1)
            along_v = scale * tl.sum(g * ((1 - u) * (t01 - t00) + u * (t11 - t10)), axis=1)
            if plane == 0:
                along_x += along_u
                along_y += along_v
            elif plane == 1:
                along_x += along_u
                along_z += along_v
            else:
                along_y += along_u
                along_z += along_v
    # Outside [-1, 1] the lookup is flat.
    tl.store(grad_positions + point * 3, tl.where(tl.abs(x) < 1, along_x, 0.0), mask=is_point)
    tl.store(grad_positions + point * 3 + 1, tl.where(tl.abs(y) < 1, along_y, 0.0), mask=is_point)
    tl.store(grad_positions + point * 3 + 2, tl.where(tl.abs(z) < 1, along_z, 0.0), mask=is_point)


@triton.jit
@no_type_check
def _lower_nodes(
    positions: Pointer, nodes: Pointer, points: Scalar, size: Scalar, POINTS: tl.constexpr
) -> None:
    """Fill nodes[plane, point] with the lower node of each point's cell in one level."""
    point = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    is_point = point < points
    x, y, z = _position(positions, point, is_point)
    for plane in tl.static_range(3):
        column, _ = _cell(x if plane < 2 else y, size)
        row, _ = _cell(y if plane == 0 else z, size)
        node = (plane * size + row) * size + column
        tl.store(nodes + plane * points + point, node, mask=is_point)


@triton.jit
@no_type_check
def _sum_pairs(
    positions: Pointer, grad: Pointer, pairs: Pointer, starts: Pointer, grad_level: Pointer,
    points: Scalar, size: Scalar, level: Scalar, levels: Scalar,
    NODES: tl.constexpr, LANES: tl.constexpr, FEATURES: tl.constexpr, WIDTH: tl.constexpr,
) -> None:  # fmt: skip
    """One program owns some nodes and sums what the points in the four cells around each send it.

    The points in the cell above node n are pairs[starts[n]:starts[n + 1]], plane * points + point.
    """
    node = tl.program_id(0) * NODES + tl.arange(0, NODES)
    column, row, plane = node % size, (node // size) % size, node // (size * size)
    is_node = plane < 3
    k = tl.arange(0, WIDTH)
    total = tl.zeros((NODES, LANES, WIDTH), tl.float32)
    for corner in tl.static_range(4):
        # The node is the right and the upper corner of the cell, or not.
        right, upper = corner % 2, corner // 2
        is_cell = is_node & (column >= right) & (row >= upper)
        run = starts + node - upper * size - right
        start = tl.load(run, mask=is_cell, other=0)
        end = tl.load(run + 1, mask=is_cell, other=0)
        for done in range(0, tl.max(end - start, axis=0), LANES):
            place = start[:, None] + done + tl.arange(0, LANES)[None, :]
            is_pair = place < end[:, None]
            point = tl.load(pairs + place, mask=is_pair, other=0) % points
            along_u = point * 3 + tl.where(plane < 2, 0, 1)[:, None]
            along_v = point * 3 + tl.where(plane == 0, 1, 2)[:, None]
            _, u = _cell(tl.load(positions + along_u, mask=is_pair, other=0.0), size)
            _, v = _cell(tl.load(positions + along_v, mask=is_pair, other=0.0), size)
            weight = (u if right else 1 - u) * (v if upper else 1 - v)
            first = (point * levels + level) * 3 + plane[:, None]
            read = first[:, :, None] * FEATURES + k
            is_read = is_pair[:, :, None] & (k < FEATURES)[None, None, :]
            g = tl.load(grad + read, mask=is_read, other=0.0).to(tl.float32)
            total += weight[:, :, None] * g
    out = grad_level + node.to(tl.int64)[:, None] * FEATURES + k[None, :]
    is_written = is_node[:, None] & (k < FEATURES)[None, :]
    tl.store(out, tl.load(out, mask=is_written, other=0.0) + tl.sum(total, axis=1), mask=is_written)


@functools.cache
def _on_device(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """Copy a layout once: a copy per call would make the device wait."""
    return torch.tensor(numbers, device=device)


def _layout(
    resolutions: Tensor, offsets: Tensor, features: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return resolutions, and offsets counted in nodes.

    What a kernel multiplies by the number of features itself, it reads in vectors.
    """
    nodes = tuple(offset // features for offset in offsets.tolist())
    return _on_device(tuple(resolutions.tolist()), device), _on_device(nodes, device)


def plane_grid_forward(
    positions: Tensor, table: Tensor, resolutions: Tensor, offsets: Tensor, features: int,
    out: Tensor,
) -> None:  # fmt: skip
    """Fill out[point, (level, plane, feature)]; planes are xy, xz, yz.

    Resolutions and offsets lie on the CPU.
    """
    points, levels = len(positions), len(resolutions)
    layout = _layout(resolutions, offsets, features, positions.device)
    launch(
        _forward, triton.cdiv(points, POINTS) * levels * 3,
        positions, table, *layout, out, points, levels,
        POINTS=POINTS, FEATURES=features, WIDTH=triton.next_power_of_2(features),
    )  # fmt: skip


def plane_grid_position_backward(
    positions: Tensor, grad: Tensor, table: Tensor, resolutions: Tensor, offsets: Tensor,
    features: int, grad_positions: Tensor,
) -> None:  # fmt: skip
    """Fill grad_positions[point, axis]; outside [-1, 1] the lookup is flat."""
    points, levels = len(positions), len(resolutions)
    layout = _layout(resolutions, offsets, features, positions.device)
    launch(
        _position_backward, triton.cdiv(points, POINTS),
        positions, grad, table, *layout, grad_positions, points, levels,
        POINTS=POINTS, FEATURES=features, WIDTH=triton.next_power_of_2(features),
    )  # fmt: skip


def plane_grid_table_backward(
    positions: Tensor, grad: Tensor, resolutions: Tensor, offsets: Tensor, features: int,
    grad_table: Tensor,
) -> None:  # fmt: skip
    """Add to grad_table, one level after the other.

    The points are sorted by cell, stably, so each node's sum has one order: the same bits from each
    run. That takes about 100 bytes per point: 30 MB for 300 000, whatever the number of levels.
    """
    points = len(positions)
    if points == 0:
        return
    nodes = torch.empty(3 * points, dtype=torch.int32, device=positions.device)
    for level, (size, offset) in enumerate(
        zip(resolutions.tolist(), offsets.tolist(), strict=True)
    ):
        launch(
            _lower_nodes, triton.cdiv(points, POINTS),
            positions, nodes, points, size, POINTS=POINTS,
        )  # fmt: skip
        ordered, pairs = torch.sort(nodes, stable=True)
        count = 3 * size * size
        every = torch.arange(count + 1, dtype=torch.int32, device=positions.device)
        starts = torch.searchsorted(ordered, every)
        # As many lanes as a cell has points on average, so that few stand idle.
        lanes = min(max(triton.next_power_of_2(points // (size * size) + 1), 4), PAIRS // 2)
        launch(
            _sum_pairs, triton.cdiv(count, PAIRS // lanes),
            positions, grad, pairs, starts, grad_table[offset:], points, size,
            level, len(resolutions),
            NODES=PAIRS // lanes, LANES=lanes,
            FEATURES=features, WIDTH=triton.next_power_of_2(features),
        )  # fmt: skip
