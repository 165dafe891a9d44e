"""Slow, obvious versions: plain loops over plain numbers, never shipped."""

import math
from collections.abc import Callable, Sequence


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


def walk_to_surface(
    surface: Sequence[Sequence[float]], origin: Sequence[float], direction: Sequence[float],
    extent: float,
) -> float:  # fmt: skip
    """Four steps towards surface[y][x], nodes spread over [-extent, extent]; no march, no end."""
    nodes = len(surface)
    slope, height = min(direction[2], -0.2), 0.0
    for share in (1.0, 0.7, 0.7, 0.7):
        t = (height - origin[2]) / slope
        x, y = ((origin[k] + t * direction[k]) / extent for k in (0, 1))
        there = sum(
            hat(y, row, nodes) * hat(x, column, nodes) * surface[row][column]
            for row in range(nodes)
            for column in range(nodes)
        )
        height += share * (there - height)
    return (height - origin[2]) / slope


def share_rays(
    losses: Sequence[float], available: Sequence[int], rays: int, *, floor: float
) -> list[float]:
    """Exact shares: turn up a factor of the losses, then a level, until the sum is right."""
    present = [k for k in range(len(losses)) if available[k] > 0]
    # Where no class has any loss, all have the same.
    weights = {k: losses[k] if any(losses[j] > 0 for j in present) else 1.0 for k in present}

    def raised(factor: float) -> dict[int, float]:
        return {k: max(floor, factor * weights[k]) for k in present}

    def filled(level: float) -> dict[int, float]:
        return {k: min(available[k], level * shares[k]) for k in present}

    shares = raised(_turn_up(raised, 1.0))
    counts = {k: rays * shares[k] for k in present}
    if sum(available) > rays:
        counts = filled(_turn_up(filled, rays))
    return [counts.get(k, 0.0) for k in range(len(losses))]


def _turn_up(function: Callable[[float], dict[int, float]], wanted: float) -> float:
    """Find by halving where the sum of what a growing function returns reaches a value."""
    low, high = 0.0, 1.0
    while sum(function(high).values()) < wanted and high < 1e12:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if sum(function(middle).values()) < wanted:
            low = middle
        else:
            high = middle
    return high


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


def importance_samples(
    t_edges: Sequence[float], weights: Sequence[float], quantiles: Sequence[float], floor: float
) -> list[float]:
    """Walk along one ray until each quantile of what is expected there lies behind."""
    shares = [weight + floor for weight in weights]
    found = []
    for quantile in quantiles:
        left = quantile * sum(shares)
        place = t_edges[-1]
        for i, share in enumerate(shares):
            if left < share:
                place = t_edges[i] + left / share * (t_edges[i + 1] - t_edges[i])
                break
            left -= share
        found.append(place)
    return found


def trilinear(
    volume: Sequence[Sequence[Sequence[float]]], center: Sequence[float], half_side: float,
    position: Sequence[float],
) -> float:  # fmt: skip
    """Read volume[z][y][x], nodes spread over a cube, at one position; zero outside."""
    nodes = len(volume)
    x, y, z = ((p - c) / half_side for p, c in zip(position, center, strict=True))
    if max(abs(x), abs(y), abs(z)) > 1:
        return 0.0
    total = 0.0
    for k in range(nodes):
        for j in range(nodes):
            for i in range(nodes):
                total += hat(x, i, nodes) * hat(y, j, nodes) * hat(z, k, nodes) * volume[k][j][i]
    return total
