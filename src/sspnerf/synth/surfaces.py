"""Shapes of the synthetic speaker as distance functions, compiled by Numba.

Everything here is a bound on the distance (cm) from a point to a surface: positive outside, zero on
it, never much more than the true distance, so that marching along a ray by it cannot jump through.
The head lives in head space, the torso in the torso's own space, which is head space of the
reference frame (docs/synth.md). `face` is one frame's row of `FACE_AXES`.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

# All of fast-math but the licence to forget about NaN, which marks the background.
FAST_MATH = {"afn", "arcp", "contract", "nsz", "reassoc"}

Function = TypeVar("Function", bound=Callable[..., Any])
Vector = NDArray[np.float64]

# One frame's expression: what the columns of the `face` argument mean.
FACE_AXES = (
    "opening", "half_width", "protrusion", "teeth",
    "eye_openness", "brow_raise", "gaze_x", "gaze_y",
)  # fmt: skip

MOUTH_Y = -4.3
EYE_X, EYE_Y = 3.15, 2.35
EYE_HALF_WIDTH = 1.55
# How much of the opening lifts the upper lip; the lower lip takes the rest with the jaw.
UPPER_SHARE = 0.28
JAW_SHARE = 0.55
# The neck: a cone with round ends between a point of the head and a point of the torso.
NECK_TOP = (0.0, -4.0, -3.6)
NECK_TOP_RADIUS = 4.6
NECK_BASE = (0.0, -18.0, -5.2)
NECK_BASE_RADIUS = 5.9


def compiled(function: Function) -> Function:
    """Compile a function with Numba; it can be called from threads at once."""
    return cast(Function, njit(nogil=True, fastmath=FAST_MATH, error_model="numpy")(function))


def compiled_once(function: Function) -> Function:
    """Compile a function and keep the machine code beside the source for the next process.

    Numba looks only at the function's own file to tell whether kept code is still true, and at what
    the function closes over: give it a digest of everything that it calls.
    """
    compiler = njit(cache=True, nogil=True, fastmath=FAST_MATH, error_model="numpy")
    try:
        return cast(Function, compiler(function))
    except RuntimeError:  # There is no folder that may be written: compile in each process.
        return compiled(function)


@compiled
def smooth_union(first: float, second: float, radius: float) -> float:
    """Join two shapes with a fillet of about `radius` cm."""
    overlap = max(radius - abs(first - second), 0.0) / radius
    return min(first, second) - overlap * overlap * radius * 0.25


@compiled
def smooth_step(x: float) -> float:
    """Rise smoothly from 0 at 0 to 1 at 1."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


@compiled
def hump(x: float) -> float:
    """Fall smoothly from 1 at 0 to 0 at -1 and 1."""
    rest = max(1.0 - x * x, 0.0)
    return rest * rest


@compiled
def ellipsoid(x: float, y: float, z: float, rx: float, ry: float, rz: float) -> float:
    """Bound the distance to an ellipsoid about the origin (exact to first order at its surface)."""
    ux, uy, uz = x / rx, y / ry, z / rz
    level = math.sqrt(ux * ux + uy * uy + uz * uz)
    slope = math.sqrt((ux / rx) ** 2 + (uy / ry) ** 2 + (uz / rz) ** 2)
    return level * (level - 1.0) / (slope + 1e-9)


@compiled
def round_cone(
    x: float, y: float, z: float,
    ax: float, ay: float, az: float, a_radius: float,
    bx: float, by: float, bz: float, b_radius: float,
) -> float:  # fmt: skip
    """Bound the distance to a segment whose thickness changes linearly, with round ends."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    share = ((x - ax) * dx + (y - ay) * dy + (z - az) * dz) / (dx * dx + dy * dy + dz * dz)
    share = min(max(share, 0.0), 1.0)
    ox, oy, oz = x - ax - share * dx, y - ay - share * dy, z - az - share * dz
    return math.sqrt(ox * ox + oy * oy + oz * oz) - a_radius - share * (b_radius - a_radius)


@compiled
def seam_height(x: float) -> float:
    """Return the height of the closed lips' seam at x; its corners are drawn up a little."""
    return MOUTH_Y + 0.035 * x * x


@compiled
def lip_edges(x: float, face: Vector) -> tuple[float, float, float, float]:
    """Return heights of the lips at x: upper outer, upper inner, lower inner, lower outer edge."""
    opening, half_width = face[0], face[1]
    inner = max(1.0 - (x / (0.86 * half_width)) ** 2, 0.0)
    outer = max(1.0 - (x / half_width) ** 2, 0.0)
    # A round opening stays open near its corners, a parted one tapers.
    inner = inner ** (0.9 - 0.35 * face[2])
    middle = seam_height(x)
    upper = middle + UPPER_SHARE * opening * inner
    lower = middle - (1.0 - UPPER_SHARE) * opening * inner
    bow = 1.0 - 0.22 * hump(x / 0.55)
    return upper + 0.78 * bow * outer**0.6, upper, lower, lower - 0.98 * math.sqrt(outer)


@compiled
def mouth_relief(x: float, y: float, face: Vector) -> float:
    """Return how far the lips stand out of the face, cm; the seam between them is a groove."""
    if abs(x) > face[1] or abs(y - MOUTH_Y) > 4.0:
        return 0.0
    upper_outer, upper, lower, lower_outer = lip_edges(x, face)
    thick = 0.34 + 0.5 * face[2]
    fade = 1.0 - (x / face[1]) ** 2
    above = hump((y - 0.45 * upper_outer - 0.55 * upper) / 0.62)
    below = hump((y - 0.5 * (lower + lower_outer)) / 0.68)
    return float(fade * thick * max(above, below))


@compiled
def skin_distance(x: float, y: float, z: float, face: Vector) -> float:
    """Bound the distance to the bald head without ears; the jaw drops with the mouth."""
    drop = JAW_SHARE * face[0]
    y_rest = y + drop * smooth_step((MOUTH_Y + 0.3 - y) / 3.0)
    side = abs(x)
    skull = ellipsoid(x, y_rest - 2.2, z + 3.0, 7.1, 9.3, 8.3)
    jaw = ellipsoid(x, y_rest + 3.2, z + 0.6, 5.7, 5.6, 5.5)
    distance = smooth_union(skull, jaw, 2.6)
    if z < -1.0 or distance > 4.0:
        return distance
    chin = ellipsoid(x, y_rest + 7.15, z - 2.9, 2.1, 1.6, 1.9)
    distance = smooth_union(distance, chin, 1.6)
    cheek = ellipsoid(side - 3.9, y + 0.6, z - 2.3, 2.1, 1.9, 1.9)
    distance = smooth_union(distance, cheek, 1.8)
    socket = hump((side - EYE_X) / 2.2) * hump((y - EYE_Y - 0.1) / 1.6)
    ridge = hump(side / 5.6) * hump((y - 4.1) / 1.3)
    distance += 0.75 * socket - 0.28 * ridge
    bridge = round_cone(x, y, z, 0.0, 3.2, 4.4, 0.75, 0.0, -0.75, 6.15, 0.88)
    distance = smooth_union(distance, bridge, 0.9)
    wing = ellipsoid(side - 0.95, y + 1.1, z - 5.35, 0.72, 0.62, 0.95)
    distance = smooth_union(distance, wing, 0.45)
    return distance - mouth_relief(x, y, face)


@compiled
def hair_distance(x: float, y: float, z: float) -> float:
    """Bound the distance to the hair: a shell around the skull with an opening for the face."""
    shell = ellipsoid(x, y - 2.6, z + 3.3, 8.15, 10.4, 9.3)
    # The opening widens and sinks towards the back: it frees the ears, the nape stays covered.
    back = 4.5 - z
    wide, high = 6.3 + 0.42 * max(back, 0.0), 8.3
    fringe = -1.6 - 0.5 * back + 0.6 * math.sin(0.5 * x + 0.7) + 0.14 * math.sin(2.6 * x + 1.0)
    u, v = x / wide, (y - fringe) / high
    # A rounded square rather than an ellipse: a brow that is broad, not pointed.
    opening = (math.sqrt(math.sqrt(u * u * u * u + v * v * v * v)) - 1.0) * 5.5
    return max(shell, -opening)


@compiled
def ear_distance(x: float, y: float, z: float) -> float:
    """Bound the distance to the ears, tilted shells with a hollow."""
    side = abs(x) - 7.2
    tilted = z + 1.6 + 0.25 * (y - 0.6)
    shell = ellipsoid(side + 0.15 * tilted, y - 0.6, tilted, 0.95, 2.2, 1.25)
    hollow = ellipsoid(side - 0.75, y - 0.7, tilted - 0.95, 0.55, 1.35, 0.65)
    return max(shell, -hollow)


@compiled
def head_distance(x: float, y: float, z: float, face: Vector) -> float:
    """Bound the distance to skin, ears and hair together."""
    skin = skin_distance(x, y, z, face)
    skin = smooth_union(skin, ear_distance(x, y, z), 0.9)
    return min(skin, hair_distance(x, y, z))


@compiled
def collar_distance(x: float, y: float, z: float) -> float:
    """Bound the distance to the shirt's collar: a cone around the neck, cut open at the front."""
    cone = round_cone(x, y, z, 0.0, -10.0, -4.3, 5.4, 0.0, -20.0, -5.0, 6.7)
    rim = (y + 12.3 + 0.5 * (z + 4.0)) * 0.89
    return max(cone, rim)


@compiled
def clothes_distance(x: float, y: float, z: float) -> float:
    """Bound the distance to shoulders and chest."""
    side = abs(x)
    arm = round_cone(side, y, z, 0.0, -16.6, -5.6, 4.6, 14.8, -20.2, -5.6, 4.5)
    sleeve = round_cone(side, y, z, 14.8, -20.2, -5.6, 4.5, 17.5, -40.0, -4.5, 4.8)
    chest = ellipsoid(x, y + 31.0, z + 4.0, 16.5, 16.0, 8.4)
    distance = smooth_union(arm, sleeve, 2.0)
    return smooth_union(distance, chest, 4.0)


@compiled
def torso_distance(x: float, y: float, z: float) -> float:
    """Bound the distance to everything that moves with the torso."""
    return min(clothes_distance(x, y, z), collar_distance(x, y, z))
