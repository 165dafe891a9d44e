"""Compositing and its derivatives; see `ops.compositing`."""

from typing import no_type_check

import triton
import triton.language as tl
from torch import Tensor

from sspnerf.ops.triton_kernels.launch import launch
from sspnerf.ops.triton_kernels.types import Block, Pointer, Scalar

RAYS = 64
"""Rays that one program walks along together."""


@triton.jit
@no_type_check
def _absorbed(depth: Block) -> Block:
    """Return 1 - e^-depth without losing thin haze."""
    # Taylor's series; what is left out at 0.5 is 1e-8 of the whole.
    thin = tl.minimum(depth, 0.5)
    series = 1 - thin * (1 / 8)
    for k in tl.static_range(7, 1, -1):
        series = 1 - thin * series * (1 / k)
    return tl.where(depth < 0.5, thin * series, 1 - tl.exp(-depth))


@triton.jit
@no_type_check
def _places(sample_of_ray: Block, is_ray: Block, channels: Scalar, CHANNELS: tl.constexpr):  # noqa: ANN202
    """Return where a sample's channels lie, and which there are."""
    k = tl.arange(0, CHANNELS)[None, :]
    return sample_of_ray[:, None] * channels + k, is_ray[:, None] & (k < channels)


@triton.jit
@no_type_check
def _read(values: Pointer, at: Block, is_there: Block) -> Block:
    """Read one sample's channels for each ray as float32."""
    return tl.load(values + at, mask=is_there, other=0.0).to(tl.float32)


@triton.jit
@no_type_check
def _forward(
    density: Pointer, t_delta: Pointer, values: Pointer,
    composited: Pointer, transmittance: Pointer, weights: Pointer,
    rays: Scalar, samples: Scalar, channels: Scalar, RAYS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    summed = tl.zeros((RAYS, CHANNELS), tl.float32)
    remaining = tl.full((RAYS,), 1.0, tl.float32)
    for sample in range(samples):
        place = ray * samples + sample
        depth = tl.load(density + place, mask=is_ray, other=0.0)
        depth *= tl.load(t_delta + place, mask=is_ray, other=0.0)
        weight = remaining * _absorbed(depth)
        tl.store(weights + place, weight, mask=is_ray)
        at, is_there = _places(place, is_ray, channels, CHANNELS)
        summed += weight[:, None] * _read(values, at, is_there)
        remaining *= tl.exp(-depth)
    tl.store(transmittance + ray, remaining, mask=is_ray)
    at, is_there = _places(ray, is_ray, channels, CHANNELS)
    tl.store(composited + at, summed, mask=is_there)


@triton.jit
@no_type_check
def _backward(
    t_delta: Pointer, values: Pointer, weights: Pointer, transmittance: Pointer,
    grad_composited: Pointer, grad_transmittance: Pointer,
    grad_density: Pointer, grad_values: Pointer,
    rays: Scalar, samples: Scalar, channels: Scalar, RAYS: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    after = tl.load(transmittance + ray, mask=is_ray, other=0.0)
    behind = after * tl.load(grad_transmittance + ray, mask=is_ray, other=0.0)
    at, is_there = _places(ray, is_ray, channels, CHANNELS)
    grad = _read(grad_composited, at, is_there)
    for step in range(samples):
        place = ray * samples + (samples - 1 - step)
        at, is_there = _places(place, is_ray, channels, CHANNELS)
        weight = tl.load(weights + place, mask=is_ray, other=0.0)
        along = tl.sum(grad * _read(values, at, is_there), axis=1)
        tl.store(grad_values + at, grad * weight[:, None], mask=is_there)
        length = tl.load(t_delta + place, mask=is_ray, other=0.0)
        tl.store(grad_density + place, length * (after * along - behind), mask=is_ray)
        behind += weight * along
        after += weight


@triton.jit
@no_type_check
def _portrait_forward(
    density: Pointer, t_edges: Pointer, color: Pointer, logits: Pointer, least: Scalar,
    seen: Pointer, parsed: Pointer, transmittance: Pointer, distance: Pointer, weights: Pointer,
    rays: Scalar, samples: Scalar, channels: Scalar, classes: Scalar,
    RAYS: tl.constexpr, CHANNELS: tl.constexpr, CLASSES: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    seen_here = tl.zeros((RAYS, CHANNELS), tl.float32)
    parsed_here = tl.zeros((RAYS, CLASSES), tl.float32)
    remaining = tl.full((RAYS,), 1.0, tl.float32)
    total = tl.zeros((RAYS,), tl.float32)
    away = tl.zeros((RAYS,), tl.float32)
    near = tl.load(t_edges + ray * (samples + 1), mask=is_ray, other=0.0)
    for sample in range(samples):
        place = ray * samples + sample
        far = tl.load(t_edges + ray * (samples + 1) + sample + 1, mask=is_ray, other=0.0)
        depth = tl.load(density + place, mask=is_ray, other=0.0) * (far - near)
        weight = remaining * _absorbed(depth)
        tl.store(weights + place, weight, mask=is_ray)
        at, is_there = _places(place, is_ray, channels, CHANNELS)
        seen_here += weight[:, None] * _read(color, at, is_there)
        there, is_class = _places(place, is_ray, classes, CLASSES)
        parsed_here += weight[:, None] * _read(logits, there, is_class)
        total += weight
        away += weight * 0.5 * (near + far)
        remaining *= tl.exp(-depth)
        near = far
    tl.store(transmittance + ray, remaining, mask=is_ray)
    tl.store(distance + ray, away / tl.maximum(total, least), mask=is_ray)
    at, is_there = _places(ray, is_ray, channels, CHANNELS)
    tl.store(seen + at, seen_here, mask=is_there)
    there, is_class = _places(ray, is_ray, classes, CLASSES)
    tl.store(parsed + there, parsed_here, mask=is_class)


@triton.jit
@no_type_check
def _portrait_backward(
    t_edges: Pointer, color: Pointer, logits: Pointer, weights: Pointer, transmittance: Pointer,
    grad_seen: Pointer, grad_parsed: Pointer, grad_transmittance: Pointer, semantic_share: Scalar,
    grad_density: Pointer, grad_color: Pointer, grad_logits: Pointer,
    rays: Scalar, samples: Scalar, channels: Scalar, classes: Scalar,
    RAYS: tl.constexpr, CHANNELS: tl.constexpr, CLASSES: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    after = tl.load(transmittance + ray, mask=is_ray, other=0.0)
    behind = after * tl.load(grad_transmittance + ray, mask=is_ray, other=0.0)
    at, is_there = _places(ray, is_ray, channels, CHANNELS)
    of_color = _read(grad_seen, at, is_there)
    there, is_class = _places(ray, is_ray, classes, CLASSES)
    of_logits = _read(grad_parsed, there, is_class)
    far = tl.load(t_edges + ray * (samples + 1) + samples, mask=is_ray, other=0.0)
    for step in range(samples):
        sample = samples - 1 - step
        place = ray * samples + sample
        weight = tl.load(weights + place, mask=is_ray, other=0.0)
        there, is_class = _places(place, is_ray, classes, CLASSES)
        along = semantic_share * tl.sum(of_logits * _read(logits, there, is_class), axis=1)
        tl.store(grad_logits + there, of_logits * weight[:, None], mask=is_class)
        at, is_there = _places(place, is_ray, channels, CHANNELS)
        along += tl.sum(of_color * _read(color, at, is_there), axis=1)
        tl.store(grad_color + at, of_color * weight[:, None], mask=is_there)
        near = tl.load(t_edges + ray * (samples + 1) + sample, mask=is_ray, other=0.0)
        tl.store(grad_density + place, (far - near) * (after * along - behind), mask=is_ray)
        behind += weight * along
        after += weight
        far = near


def _width(channels: int) -> int:
    """Return how many channels a block has: a power of two, at least one."""
    return max(int(triton.next_power_of_2(channels)), 1)


def composite_forward(
    density: Tensor, t_delta: Tensor, values: Tensor,
    composited: Tensor, transmittance: Tensor, weights: Tensor,
) -> None:  # fmt: skip
    """Fill composited[ray, channel], transmittance[ray] and weights[ray, sample]."""
    rays, samples, channels = values.shape
    launch(
        _forward, triton.cdiv(rays, RAYS),
        density, t_delta, values, composited, transmittance, weights,
        rays, samples, channels, RAYS=RAYS, CHANNELS=_width(channels),
    )  # fmt: skip


def composite_backward(
    t_delta: Tensor, values: Tensor, weights: Tensor, transmittance: Tensor,
    grad_composited: Tensor, grad_transmittance: Tensor,
    grad_density: Tensor, grad_values: Tensor,
) -> None:  # fmt: skip
    """Fill the gradients of density and values, walking each ray from its far end.

    The equations are those of `numba_kernels.compositing`.
    """
    rays, samples, channels = values.shape
    launch(
        _backward, triton.cdiv(rays, RAYS),
        t_delta, values, weights, transmittance, grad_composited, grad_transmittance,
        grad_density, grad_values,
        rays, samples, channels, RAYS=RAYS, CHANNELS=_width(channels),
    )  # fmt: skip


def composite_portrait_forward(
    density: Tensor, t_edges: Tensor, color: Tensor, logits: Tensor, least: float,
    seen: Tensor, parsed: Tensor, transmittance: Tensor, distance: Tensor, weights: Tensor,
) -> None:  # fmt: skip
    """Fill seen[ray, channel], parsed[ray, class], three tensors per ray and weights[ray, sample].

    distance[ray] is the mean of the samples' middles; `least` is the least sum it is divided by.
    """
    rays, samples, channels = color.shape
    classes = logits.shape[-1]
    launch(
        _portrait_forward, triton.cdiv(rays, RAYS),
        density, t_edges, color, logits, least, seen, parsed, transmittance, distance, weights,
        rays, samples, channels, classes,
        RAYS=RAYS, CHANNELS=_width(channels), CLASSES=_width(classes),
    )  # fmt: skip


def composite_portrait_backward(
    t_edges: Tensor, color: Tensor, logits: Tensor, weights: Tensor, transmittance: Tensor,
    grad_seen: Tensor, grad_parsed: Tensor, grad_transmittance: Tensor, semantic_share: float,
    grad_density: Tensor, grad_color: Tensor, grad_logits: Tensor,
) -> None:  # fmt: skip
    """Fill the gradients of density, color and logits as `composite_backward` does.

    Of what the logits say of the density only a share counts.
    """
    rays, samples, channels = color.shape
    classes = logits.shape[-1]
    launch(
        _portrait_backward, triton.cdiv(rays, RAYS),
        t_edges, color, logits, weights, transmittance,
        grad_seen, grad_parsed, grad_transmittance, semantic_share,
        grad_density, grad_color, grad_logits, rays, samples, channels, classes,
        RAYS=RAYS, CHANNELS=_width(channels), CLASSES=_width(classes),
    )  # fmt: skip
