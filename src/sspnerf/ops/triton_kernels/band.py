"""Rays around a height field; see `ops.band`."""

from typing import no_type_check

import triton
import triton.language as tl
from torch import Tensor

from sspnerf.ops import surface_steps
from sspnerf.ops.triton_kernels.launch import launch
from sspnerf.ops.triton_kernels.types import Block, Pointer, Scalar

RAYS = 128
"""Rays that one program follows together."""
FIXED_POINT_STEPS = tl.constexpr(surface_steps.FIXED_POINT_STEPS)
DAMPING = tl.constexpr(surface_steps.DAMPING)
LEAST_SLOPE = tl.constexpr(surface_steps.LEAST_SLOPE)


@triton.jit
@no_type_check
def _node(coordinate: Block, extent: Scalar, nodes: Scalar) -> tuple[Block, Block]:
    """Return the lower node of the cell that holds a coordinate, and the part of the cell beyond.

    Beyond the border the border's value holds; what is not a number reads node 0.
    """
    scaled = (coordinate / extent + 1) * ((nodes - 1) * 0.5)
    scaled = tl.minimum(tl.where(scaled > 0, scaled, 0.0), (nodes - 1) * 1.0)
    node = tl.minimum(scaled.to(tl.int32), nodes - 2)
    return node, scaled - node


@triton.jit
@no_type_check
def _height(
    surface: Pointer, nodes: Scalar, x: Block, y: Block, extent: Scalar, is_ray: Block
) -> Block:
    """Read the surface bilinearly."""
    column, u = _node(x, extent, nodes)
    row, v = _node(y, extent, nodes)
    near = surface + row * nodes + column
    far = near + nodes
    near_height = tl.load(near, mask=is_ray, other=0.0)
    near_height += u * (tl.load(near + 1, mask=is_ray, other=0.0) - near_height)
    far_height = tl.load(far, mask=is_ray, other=0.0)
    far_height += u * (tl.load(far + 1, mask=is_ray, other=0.0) - far_height)
    return near_height + v * (far_height - near_height)


@triton.jit
@no_type_check
def _axis(vectors: Pointer, ray: Block, axis: tl.constexpr, is_ray: Block) -> Block:
    return tl.load(vectors + ray * 3 + axis, mask=is_ray, other=0.0)


@triton.jit
@no_type_check
def _hit(
    surface: Pointer, nodes: Scalar, origin: Pointer, direction: Pointer, extent: Scalar,
    ray: Block, is_ray: Block,
) -> Block:  # fmt: skip
    """Return the distances at which rays meet the surface."""
    slope = tl.minimum(_axis(direction, ray, 2, is_ray), LEAST_SLOPE)
    start_x, start_y = _axis(origin, ray, 0, is_ray), _axis(origin, ray, 1, is_ray)
    start_z = _axis(origin, ray, 2, is_ray)
    along_x, along_y = _axis(direction, ray, 0, is_ray), _axis(direction, ray, 1, is_ray)
    height = tl.zeros_like(slope)
    for step in tl.static_range(FIXED_POINT_STEPS):
        t = (height - start_z) / slope
        found = _height(
            surface, nodes, start_x + t * along_x, start_y + t * along_y, extent, is_ray
        )
        height += (1 if step == 0 else DAMPING) * (found - height)
    return (height - start_z) / slope


@triton.jit
@no_type_check
def _hit_surface(
    surface: Pointer, origin: Pointer, direction: Pointer, distance: Pointer, extent: Scalar,
    nodes: Scalar, rays: Scalar, RAYS: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    t = _hit(surface, nodes, origin, direction, extent, ray, is_ray)
    tl.store(distance + ray, t, mask=is_ray)


@triton.jit
@no_type_check
def _place_rays(
    surface: Pointer, origin: Pointer, direction: Pointer, torso_origin: Pointer,
    torso_direction: Pointer, neck_height: Pointer, distance: Pointer, canonical: Pointer,
    extent: Scalar, neck_softness: Scalar, nodes: Scalar, rays: Scalar,
    RAYS: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    t = _hit(surface, nodes, origin, direction, extent, ray, is_ray)
    torso_t = _hit(surface, nodes, torso_origin, torso_direction, extent, ray, is_ray)
    neck = tl.load(neck_height)
    start_y = _axis(torso_origin, ray, 1, is_ray)
    along_y = _axis(torso_direction, ray, 1, is_ray)
    t += (torso_t - t) * tl.sigmoid((neck - (start_y + torso_t * along_y)) / neck_softness)
    torso_x = _axis(torso_origin, ray, 0, is_ray) + t * _axis(torso_direction, ray, 0, is_ray)
    torso_y = start_y + t * along_y
    weight = tl.sigmoid((neck - torso_y) / neck_softness)
    x = _axis(origin, ray, 0, is_ray) + t * _axis(direction, ray, 0, is_ray)
    y = _axis(origin, ray, 1, is_ray) + t * _axis(direction, ray, 1, is_ray)
    x += weight * (torso_x - x)
    y += weight * (torso_y - y)
    tl.store(distance + ray, t, mask=is_ray)
    tl.store(canonical + ray * 2, x, mask=is_ray)
    tl.store(canonical + ray * 2 + 1, y, mask=is_ray)


@triton.jit
@no_type_check
def _band_points(
    distance: Pointer, origin: Pointer, direction: Pointer, torso_origin: Pointer,
    torso_direction: Pointer, front: Pointer, back: Pointer, shift: Pointer,
    t_edges: Pointer, head: Pointer, torso: Pointer,
    front_step: Scalar, back_step: Scalar, shift_step: Scalar,
    rays: Scalar, samples: Scalar, RAYS: tl.constexpr,
) -> None:  # fmt: skip
    """Steps are 1 where there is one number per ray, 0 where there is one for all."""
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    ahead = tl.load(front + ray * front_step, mask=is_ray, other=0.0)
    length = (ahead + tl.load(back + ray * back_step, mask=is_ray, other=0.0)) / samples
    near = tl.load(distance + ray, mask=is_ray, other=0.0) - ahead
    moved = tl.load(shift + ray * shift_step, mask=is_ray, other=0.0)
    edge = near + length * moved
    tl.store(t_edges + ray * (samples + 1), edge, mask=is_ray)
    for sample in range(samples):
        next_edge = near + length * (sample + 1 + moved)
        tl.store(t_edges + ray * (samples + 1) + sample + 1, next_edge, mask=is_ray)
        t = 0.5 * (edge + next_edge)
        edge = next_edge
        for axis in tl.static_range(3):
            at = (ray * samples + sample) * 3 + axis
            of_head = _axis(origin, ray, axis, is_ray) + t * _axis(direction, ray, axis, is_ray)
            tl.store(head + at, of_head, mask=is_ray)
            of_torso = _axis(torso_origin, ray, axis, is_ray)
            of_torso += t * _axis(torso_direction, ray, axis, is_ray)
            tl.store(torso + at, of_torso, mask=is_ray)


@triton.jit
@no_type_check
def _band_points_backward(
    t_edges: Pointer, grad: Pointer, grad_origin: Pointer, grad_direction: Pointer,
    rays: Scalar, samples: Scalar, RAYS: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    for axis in tl.static_range(3):
        still = tl.zeros((RAYS,), tl.float32)
        along = tl.zeros((RAYS,), tl.float32)
        for sample in range(samples):
            edge = t_edges + ray * (samples + 1) + sample
            t = tl.load(edge, mask=is_ray, other=0.0) + tl.load(edge + 1, mask=is_ray, other=0.0)
            g = tl.load(grad + (ray * samples + sample) * 3 + axis, mask=is_ray, other=0.0)
            still += g
            along += g * 0.5 * t
        tl.store(grad_origin + ray * 3 + axis, still, mask=is_ray)
        tl.store(grad_direction + ray * 3 + axis, along, mask=is_ray)


def hit_surface(
    surface: Tensor, nodes: int, origin: Tensor, direction: Tensor, extent: float, distance: Tensor
) -> None:
    """Fill distance[ray]; the surface is flat, `nodes` lie along a side."""
    rays = len(origin)
    launch(
        _hit_surface, triton.cdiv(rays, RAYS),
        surface, origin, direction, distance, extent, nodes, rays, RAYS=RAYS,
    )  # fmt: skip


def place_rays(
    surface: Tensor, nodes: int, origin: Tensor, direction: Tensor, torso_origin: Tensor,
    torso_direction: Tensor, extent: float, neck_height: Tensor, neck_softness: float,
    distance: Tensor, canonical: Tensor,
) -> None:  # fmt: skip
    """Fill distance[ray] and canonical[ray, (x, y)].

    The neck's height stays on the device: to ask for its value would make the CPU wait.
    """
    rays = len(origin)
    launch(
        _place_rays, triton.cdiv(rays, RAYS),
        surface, origin, direction, torso_origin, torso_direction, neck_height,
        distance, canonical, extent, neck_softness, nodes, rays, RAYS=RAYS,
    )  # fmt: skip


def band_points(
    distance: Tensor, origin: Tensor, direction: Tensor, torso_origin: Tensor,
    torso_direction: Tensor, front: Tensor, back: Tensor, shift: Tensor,
    t_edges: Tensor, head: Tensor, torso: Tensor,
) -> None:  # fmt: skip
    """Fill t_edges[ray, edge] and the middles head, torso[ray, sample, axis].

    front, back and shift hold one number per ray or one for all.
    """
    rays, samples, _ = head.shape
    launch(
        _band_points, triton.cdiv(rays, RAYS),
        distance, origin, direction, torso_origin, torso_direction, front, back, shift,
        t_edges, head, torso, *(int(len(each) > 1) for each in (front, back, shift)),
        rays, samples, RAYS=RAYS,
    )  # fmt: skip


def band_points_backward(
    t_edges: Tensor, grad: Tensor, grad_origin: Tensor, grad_direction: Tensor
) -> None:
    """Fill the gradients of one bone's rays from those of its points."""
    rays, samples, _ = grad.shape
    launch(
        _band_points_backward, triton.cdiv(rays, RAYS),
        t_edges, grad, grad_origin, grad_direction, rays, samples, RAYS=RAYS,
    )  # fmt: skip
