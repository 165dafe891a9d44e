"""Slow, obvious versions: plain loops over plain numbers, never shipped."""

import math
from collections.abc import Sequence


def composite_ray(
    density: Sequence[float], t_edges: Sequence[float], values: Sequence[Sequence[float]]
) -> tuple[list[float], float, list[float]]:
    """Walk one ray from near to far: sums of the channels, what passes the end, weights."""
    channels = len(values[0]) if values else 0
    sums, transmittance, weights = [0.0] * channels, 1.0, []
    for i, sigma in enumerate(density):
        passes = math.exp(-sigma * (t_edges[i + 1] - t_edges[i]))
        weights.append(transmittance * (1 - passes))
        for channel in range(channels):
            sums[channel] += weights[i] * values[i][channel]
        transmittance *= passes
    return sums, transmittance, weights


def lookup_point(
    table: Sequence[float], position: Sequence[float], resolutions: Sequence[int], features: int
) -> list[float]:
    """Read all levels and planes at one position, node by node."""
    found, start = [], 0
    for resolution in resolutions:
        for first, second in ((0, 1), (0, 2), (1, 2)):
            for k in range(features):
                total = 0.0
                for row in range(resolution):
                    for column in range(resolution):
                        weight = hat(position[first], column, resolution) * hat(
                            position[second], row, resolution
                        )
                        entry = start + (row * resolution + column) * features + k
                        total += weight * table[entry]
                found.append(total)
            start += resolution * resolution * features
    return found


def hat(coordinate: float, node: int, resolution: int) -> float:
    """How much a node of [-1, 1] counts at a coordinate: 1 on it, 0 at its neighbours."""
    place = (min(max(coordinate, -1.0), 1.0) + 1) / 2 * (resolution - 1)
    return max(0.0, 1 - abs(place - node))


def dilate_picture(mask: list[list[int]], threshold: int, radius: int) -> list[list[int]]:
    """Mark every pixel with a mask value above the threshold in the square around it."""
    height, width = len(mask), len(mask[0])
    out = [[0] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            for r in range(max(0, row - radius), min(height, row + radius + 1)):
                for c in range(max(0, column - radius), min(width, column + radius + 1)):
                    if mask[r][c] > threshold:
                        out[row][column] = 1
    return out


def rotate(vector: Sequence[float], point: Sequence[float]) -> list[float]:
    """Turn a point about an axis by the vector's length (Rodrigues, component by component)."""
    angle = math.sqrt(sum(v * v for v in vector))
    if angle == 0:
        return list(point)
    x, y, z = (v / angle for v in vector)
    px, py, pz = point
    cross = (y * pz - z * py, z * px - x * pz, x * py - y * px)
    along = x * px + y * py + z * pz
    return [
        p * math.cos(angle) + c * math.sin(angle) + axis * along * (1 - math.cos(angle))
        for p, c, axis in zip(point, cross, (x, y, z), strict=True)
    ]


def march_to_surface(
    height_at, origin: Sequence[float], direction: Sequence[float], *, far: float, step: float
) -> float:
    """Walk along a ray in small steps until it is below the surface z = height_at(x, y)."""
    t = 0.0
    while t < far:
        x, y, z = (o + t * d for o, d in zip(origin, direction, strict=True))
        if z <= height_at(x, y):
            return t
        t += step
    return math.inf


def share_rays(losses: Sequence[float], available: Sequence[int], rays: int) -> list[float]:
    """Exact shares in proportion to the losses of classes that have pixels, without a floor."""
    total = sum(loss for loss, n in zip(losses, available, strict=True) if n > 0)
    pairs = zip(losses, available, strict=True)
    return [rays * loss / total if n > 0 else 0.0 for loss, n in pairs]


def convolve(
    x: Sequence[Sequence[float]], weight: Sequence[Sequence[Sequence[float]]], bias: Sequence[float]
) -> list[list[float]]:
    """One-dimensional convolution of size 3 with one zero at either end."""
    length = len(x[0])
    out = []
    for o, kernels in enumerate(weight):
        line = []
        for place in range(length):
            total = bias[o]
            for i, kernel in enumerate(kernels):
                for k in range(3):
                    source = place + k - 1
                    if 0 <= source < length:
                        total += kernel[k] * x[i][source]
            line.append(total)
        out.append(line)
    return out
