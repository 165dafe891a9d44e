"""The exact ray tracer of the synthetic speaker, compiled by Numba; `pictures` calls it.

A ray starts in the camera. It is followed into head space and into the torso's space by their rigid
transforms and marched to the surface there, so that what a point is and where it comes from is
known without error; the nearest hit counts. Names: `o`, `d` are a ray's origin and unit direction,
`t` the distance along it; `base` is where the torso's end of the neck is in head space.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sspnerf.synth.looks import (
    BACKGROUND,
    BROW,
    EAR,
    EYE,
    HAIR,
    LIP,
    MOUTH_INTERIOR,
    NECK,
    TORSO,
    Color,
    background_color,
    eye_color,
    eye_point,
    hair_color,
    head_label,
    lip_color,
    mix,
    mouth_color,
    mouth_point,
    skin_color,
    torso_color,
)
from sspnerf.synth.surfaces import (
    NECK_BASE_RADIUS,
    NECK_TOP,
    NECK_TOP_RADIUS,
    Vector,
    compiled,
    head_distance,
    round_cone,
    skin_distance,
    smooth_step,
    torso_distance,
)  # fmt: skip

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Most rays need about ten; those that graze a crease need hundreds.
MARCH_STEPS = 500
# A march ends this near to the surface, cm; one more step by the remaining distance follows.
HIT_CM = 3e-4
LEAST_STEP_CM = 4e-3
SLOPE_CM = 2e-3
# Distances are bounds up to this factor (the jaw's warp, the displaced eyes and lips).
CAUTION = 0.8
# Sub-pixel offsets of the four rays that a pixel's color and mask are averaged over.
SUPERSAMPLING = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))

HEAD_PART, NECK_PART, TORSO_PART = 0, 1, 2


@compiled
def part_distance(part: int, x: float, y: float, z: float, face: Vector, base: Vector) -> float:
    """Bound the distance to one part, each in its own space."""
    if part == HEAD_PART:
        return head_distance(x, y, z, face)
    if part == NECK_PART:
        return round_cone(
            x, y, z, NECK_TOP[0], NECK_TOP[1], NECK_TOP[2], NECK_TOP_RADIUS,
            base[0], base[1], base[2], NECK_BASE_RADIUS,
        )  # fmt: skip
    return torso_distance(x, y, z)


@compiled
def enter_ellipsoid(
    o: Vector, d: Vector, cx: float, cy: float, cz: float, rx: float, ry: float, rz: float
) -> tuple[float, float]:
    """Return where a ray enters and leaves an ellipsoid; the first is larger if it misses."""
    ux, uy, uz = (o[0] - cx) / rx, (o[1] - cy) / ry, (o[2] - cz) / rz
    vx, vy, vz = d[0] / rx, d[1] / ry, d[2] / rz
    a = vx * vx + vy * vy + vz * vz
    b = ux * vx + uy * vy + uz * vz
    root = b * b - a * (ux * ux + uy * uy + uz * uz - 1.0)
    if root <= 0.0:
        return 1.0, 0.0
    width = math.sqrt(root)
    return max((-b - width) / a, 0.0), (-b + width) / a


@compiled
def march(
    part: int, o: Vector, d: Vector, near: float, far: float, face: Vector, base: Vector
) -> float:
    """Follow a ray to a part's surface; negative if it passes by."""
    t = near
    for _ in range(MARCH_STEPS):
        away = part_distance(part, o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2], face, base)
        if away < HIT_CM:
            return t + CAUTION * away
        # The least step lets a ray that grazes get past instead of creeping for ever.
        t += max(CAUTION * away, LEAST_STEP_CM)
        if t > far:
            return -1.0
    return -1.0


@compiled
def surface_normal(part: int, x: float, y: float, z: float, face: Vector, base: Vector) -> Color:
    """Return the outward unit normal, from differences over four points."""
    e = SLOPE_CM
    a = part_distance(part, x + e, y - e, z - e, face, base)
    b = part_distance(part, x - e, y - e, z + e, face, base)
    c = part_distance(part, x - e, y + e, z - e, face, base)
    g = part_distance(part, x + e, y + e, z + e, face, base)
    nx, ny, nz = a - b - c + g, c + g - a - b, b + g - a - c
    norm = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    return nx / norm, ny / norm, nz / norm


@compiled
def shade(color: Color, nx: float, ny: float, nz: float, soft: float) -> Color:
    """Light a color by ambient, a key lamp at the upper left and a fill; normal in studio space."""
    key = max((-0.42 * nx + 0.52 * ny + 0.745 * nz + soft) / (1.0 + soft), 0.0)
    fill = max(0.75 * nx + 0.1 * ny + 0.65 * nz, 0.0)
    sky = 0.5 + 0.5 * ny
    red = 0.30 + 0.66 * key + 0.14 * fill + 0.04 * sky
    blue = 0.31 + 0.62 * key + 0.17 * fill + 0.06 * sky
    return color[0] * red, color[1] * 0.5 * (red + blue), color[2] * blue


@compiled
def transform(matrix: Vector, vector: Vector, weight: float, out: Vector) -> None:
    """Move a point (weight 1) or turn a direction (weight 0) into another space."""
    for i in range(3):
        out[i] = (
            matrix[i, 0] * vector[0] + matrix[i, 1] * vector[1] + matrix[i, 2] * vector[2]
            + weight * matrix[i, 3]
        )  # fmt: skip


@compiled
def neck_at_rest(x: float, y: float, z: float, base: Vector, rest_base: Vector) -> Color:
    """Return where a point of the bent neck is at rest: same share of its axis, turned with it."""
    ax, ay, az = base[0] - NECK_TOP[0], base[1] - NECK_TOP[1], base[2] - NECK_TOP[2]
    bx, by, bz = rest_base[0] - NECK_TOP[0], rest_base[1] - NECK_TOP[1], rest_base[2] - NECK_TOP[2]
    px, py, pz = x - NECK_TOP[0], y - NECK_TOP[1], z - NECK_TOP[2]
    a_norm = math.sqrt(ax * ax + ay * ay + az * az)
    b_norm = math.sqrt(bx * bx + by * by + bz * bz)
    share = (px * ax + py * ay + pz * az) / (a_norm * a_norm)
    share = min(max(share, 0.0), 1.0)
    px, py, pz = px - share * ax, py - share * ay, pz - share * az
    ax, ay, az = ax / a_norm, ay / a_norm, az / a_norm
    ux, uy, uz = bx / b_norm, by / b_norm, bz / b_norm
    # The smallest turn that brings the axis to rest (Rodrigues, with v = a x u and cosine c).
    vx, vy, vz = ay * uz - az * uy, az * ux - ax * uz, ax * uy - ay * ux
    cosine = ax * ux + ay * uy + az * uz
    along = (vx * px + vy * py + vz * pz) / (1.0 + cosine)
    return (
        NECK_TOP[0] + share * bx + cosine * px + vy * pz - vz * py + along * vx,
        NECK_TOP[1] + share * by + cosine * py + vz * px - vx * pz + along * vy,
        NECK_TOP[2] + share * bz + cosine * pz + vx * py - vy * px + along * vz,
    )


@compiled
def trace(d: Vector, poses: Vector, face: Vector, base: Vector, work: Vector) -> tuple[float, int]:
    """Follow one camera ray to the nearest part.

    Leaves origin and direction in head space in work[0:2], in the torso's in work[2:4].

    Returns:
        Distance along the ray, cm, and the part; distance -1 where it meets none.
    """
    for bone in range(2):
        for i in range(3):
            work[2 * bone, i] = poses[bone, i, 3]
        transform(poses[bone], d, 0.0, work[2 * bone + 1])
    nearest, part = -1.0, HEAD_PART
    near, far = enter_ellipsoid(work[0], work[1], 0.0, 0.8, -2.2, 9.6, 13.0, 10.9)
    if near < far:
        nearest = march(HEAD_PART, work[0], work[1], near, far, face, base)
    near, far = enter_ellipsoid(
        work[0], work[1], 0.5 * base[0], 0.5 * (NECK_TOP[1] + base[1]),
        0.5 * (NECK_TOP[2] + base[2]), 8.5, 15.0, 9.5,
    )  # fmt: skip
    if near < far and (nearest < 0.0 or near < nearest):
        t = march(NECK_PART, work[0], work[1], near, far, face, base)
        if t > 0.0 and (nearest < 0.0 or t < nearest):
            nearest, part = t, NECK_PART
    near, far = enter_ellipsoid(work[2], work[3], 0.0, -34.0, -4.5, 31.0, 25.0, 13.5)
    if near < far and (nearest < 0.0 or near < nearest):
        t = march(TORSO_PART, work[2], work[3], near, far, face, base)
        if t > 0.0 and (nearest < 0.0 or t < nearest):
            nearest, part = t, TORSO_PART
    return nearest, part


@compiled
def look_through(t: float, label: int, o: Vector, d: Vector, face: Vector) -> tuple[float, bool]:
    """Continue a ray that meets an eye's or the mouth's opening; tell whether it ends at teeth."""
    x, y, z = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
    if label == EYE:
        return t + max(eye_point(x, y, z, d[0], d[1], d[2]), 0.0), False
    further, teeth = mouth_point(x, y, z, d[0], d[1], d[2], face)
    return t + further, teeth


@compiled
def head_color(label: int, x: float, y: float, z: float, teeth: bool, face: Vector) -> Color:
    """Color a point of the head by its class."""
    if label == HAIR:
        return hair_color(x, y, z)
    if label == BROW:
        return 0.26, 0.15, 0.10
    if label == EYE:
        return eye_color(x, y, face)
    if label == LIP:
        return lip_color(x, y, face)
    if label == MOUTH_INTERIOR:
        return mouth_color(x, y, teeth, face)
    color = skin_color(x, y, z, face)
    return mix(color, (0.80, 0.46, 0.38), 0.4) if label == EAR else color


@compiled
def ray_color(
    d: Vector, poses: Vector, face: Vector, base: Vector, work: Vector
) -> tuple[bool, Color]:
    """Follow one camera ray and light what it meets; false where it meets nothing."""
    t, part = trace(d, poses, face, base, work)
    if t < 0.0:
        return False, (0.0, 0.0, 0.0)
    bone = 1 if part == TORSO_PART else 0
    o, r = work[2 * bone], work[2 * bone + 1]
    x, y, z = o[0] + t * r[0], o[1] + t * r[1], o[2] + t * r[2]
    nx, ny, nz = surface_normal(part, x, y, z, face, base)
    soft = 0.25
    if part == TORSO_PART:
        color = torso_color(x, y, z)
    elif part == NECK_PART:
        # The chin keeps light from the neck below it.
        color = mix((0.46, 0.30, 0.24), (0.86, 0.65, 0.53), smooth_step((-7.0 - y) / 7.0))
    else:
        label = head_label(x, y, z, face)
        teeth = False
        if label in (EYE, MOUTH_INTERIOR):
            t, teeth = look_through(t, label, o, r, face)
            x, y, z = o[0] + t * r[0], o[1] + t * r[1], o[2] + t * r[2]
            nx, ny, nz, soft = 0.3 * nx, 0.3 * ny, 0.95, 0.6
        color = head_color(label, x, y, z, teeth, face)
    m = poses[bone]
    # Normals belong to the studio, whose axes are the camera's with y and z turned around.
    sx = m[0, 0] * nx + m[1, 0] * ny + m[2, 0] * nz
    sy = -(m[0, 1] * nx + m[1, 1] * ny + m[2, 1] * nz)
    sz = -(m[0, 2] * nx + m[1, 2] * ny + m[2, 2] * nz)
    return True, shade(color, sx, sy, sz, soft)


@compiled
def pixel_ray(u: float, v: float, camera: Vector, d: Vector) -> None:
    """Point through a continuous pixel coordinate, in camera axes, unit length."""
    x, y = (u - camera[2]) / camera[0], (v - camera[3]) / camera[1]
    norm = math.sqrt(x * x + y * y + 1.0)
    d[0], d[1], d[2] = x / norm, y / norm, 1.0 / norm


@compiled
def trace_truth(
    d: Vector, poses: Vector, face: Vector, base: Vector, rest_base: Vector, work: Vector
) -> tuple[int, float, Color]:
    """Follow one camera ray: class, distance and resting place of what it meets."""
    t, part = trace(d, poses, face, base, work)
    if t < 0.0:
        return BACKGROUND, math.nan, (math.nan, math.nan, math.nan)
    bone = 1 if part == TORSO_PART else 0
    o, r = work[2 * bone], work[2 * bone + 1]
    x, y, z = o[0] + t * r[0], o[1] + t * r[1], o[2] + t * r[2]
    if part == TORSO_PART:
        return TORSO, t, (x, y, z)
    if part == NECK_PART:
        return NECK, t, neck_at_rest(x, y, z, base, rest_base)
    label = head_label(x, y, z, face)
    if label in (EYE, MOUTH_INTERIOR):
        t, _ = look_through(t, label, o, r, face)
        x, y, z = o[0] + t * r[0], o[1] + t * r[1], o[2] + t * r[2]
    return label, t, (x, y, z)


@compiled
def render_rows(
    camera: Vector, poses: Vector, face: Vector, bases: Vector,
    frame: Bytes, labels: Bytes, mask: Bytes, distance: Floats, canonical: Floats,
) -> None:  # fmt: skip
    """Fill one picture and its truth."""
    height, width = labels.shape
    work, d, base = np.empty((4, 3)), np.empty(3), bases[0]
    for row in range(height):
        for column in range(width):
            red, green, blue, covered = 0.0, 0.0, 0.0, 0
            for i in range(4):
                u = column + 0.5 + SUPERSAMPLING[i][0]
                v = row + 0.5 + SUPERSAMPLING[i][1]
                pixel_ray(u, v, camera, d)
                met, color = ray_color(d, poses, face, base, work)
                if met:
                    covered += 1
                else:
                    color = background_color(u / width, v / height)
                red, green, blue = red + color[0], green + color[1], blue + color[2]
            frame[row, column, 0] = int(min(red / 4.0, 1.0) * 255.0 + 0.5)
            frame[row, column, 1] = int(min(green / 4.0, 1.0) * 255.0 + 0.5)
            frame[row, column, 2] = int(min(blue / 4.0, 1.0) * 255.0 + 0.5)
            mask[row, column] = int(covered * 63.75 + 0.5)
            pixel_ray(column + 0.5, row + 0.5, camera, d)
            label, t, place = trace_truth(d, poses, face, base, bases[1], work)
            labels[row, column] = label
            distance[row, column] = t
            for i in range(3):
                canonical[row, column, i] = place[i]


@compiled
def fill_background(plate: Bytes) -> None:
    """Fill a picture with the wall alone."""
    height, width = plate.shape[0], plate.shape[1]
    for row in range(height):
        for column in range(width):
            red, green, blue = 0.0, 0.0, 0.0
            for i in range(4):
                u = column + 0.5 + SUPERSAMPLING[i][0]
                v = row + 0.5 + SUPERSAMPLING[i][1]
                color = background_color(u / width, v / height)
                red, green, blue = red + color[0], green + color[1], blue + color[2]
            plate[row, column, 0] = int(min(red / 4.0, 1.0) * 255.0 + 0.5)
            plate[row, column, 1] = int(min(green / 4.0, 1.0) * 255.0 + 0.5)
            plate[row, column, 2] = int(min(blue / 4.0, 1.0) * 255.0 + 0.5)


@compiled
def skin_height(x: float, y: float, face: Vector) -> float:
    """Return z of the face's skin at x, y, cm: where a ray from the front along -z meets it."""
    z = 12.0
    for _ in range(MARCH_STEPS):
        away = skin_distance(x, y, z, face)
        z -= 0.5 * away
        if abs(away) < 1e-6:
            break
    return z
