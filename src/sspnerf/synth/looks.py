"""What the synthetic speaker's surfaces look like: semantic class and color of a point.

Colors are display RGB in [0, 1] before shading. A point is given where the ray met the surface, in
the space of its bone.
"""

import math

from sspnerf.data.semantics import SemanticClass
from sspnerf.synth.surfaces import (
    EYE_HALF_WIDTH,
    EYE_X,
    EYE_Y,
    MOUTH_Y,
    UPPER_SHARE,
    Vector,
    clothes_distance,
    collar_distance,
    compiled,
    ear_distance,
    hair_distance,
    hump,
    lip_edges,
    skin_distance,
    smooth_step,
)

BACKGROUND = int(SemanticClass.BACKGROUND)
SKIN = int(SemanticClass.SKIN)
BROW = int(SemanticClass.BROW)
EYE = int(SemanticClass.EYE)
EAR = int(SemanticClass.EAR)
NOSE = int(SemanticClass.NOSE)
MOUTH_INTERIOR = int(SemanticClass.MOUTH_INTERIOR)
LIP = int(SemanticClass.LIP)
NECK = int(SemanticClass.NECK)
TORSO = int(SemanticClass.TORSO)
HAIR = int(SemanticClass.HAIR)

Color = tuple[float, float, float]

TEETH_DEPTH = 0.55
CAVITY_DEPTH = 1.9
EYEBALL_RADII = (1.9, 1.35, 1.15)


@compiled
def mix(first: Color, second: Color, share: float) -> Color:
    """Blend two colors; share 0 is the first, 1 the second."""
    keep = 1.0 - share
    return (
        keep * first[0] + share * second[0],
        keep * first[1] + share * second[1],
        keep * first[2] + share * second[2],
    )


@compiled
def lid_edges(x: float, openness: float) -> tuple[float, float, float]:
    """Return upper lid, lower lid and crease heights at x from the eye's middle, cm."""
    taper = max(1.0 - (x / EYE_HALF_WIDTH) ** 2, 0.0)
    lower = EYE_Y - 0.05 - 0.5 * taper
    upper = lower + openness * (0.5 * taper + 0.72 * taper**0.7)
    return upper, lower, EYE_Y + 0.98 * taper**0.5


@compiled
def brow_height(side: float, raised: float) -> float:
    """Return the height of the brows' middle line at a distance from the face's middle."""
    return 4.35 + 0.75 * raised + 0.32 * hump((side - 3.4) / 2.6) - 0.1 * max(side - 4.2, 0.0)


@compiled
def nose_half_width(y: float) -> float:
    """Return how far the nose reaches sideways at a height; negative where there is none."""
    if y > 2.3 or y < -1.75:
        return -1.0
    if y > -0.5:
        return 0.6 + 0.75 * smooth_step((2.3 - y) / 2.8)
    return 1.35 + 0.3 * hump((y + 1.05) / 0.7)


@compiled
def head_label(x: float, y: float, z: float, face: Vector) -> int:
    """Tell what a point of the head's surface is; openings count as what is seen through them."""
    hair = hair_distance(x, y, z)
    ear = ear_distance(x, y, z)
    skin = skin_distance(x, y, z, face)
    if hair < skin and hair < ear:
        return HAIR
    if ear < skin:
        return EAR
    if z < 1.0:
        return SKIN
    side = abs(x)
    upper, lower, _ = lid_edges(side - EYE_X, face[4])
    if abs(side - EYE_X) < EYE_HALF_WIDTH and lower < y < upper:
        return EYE
    thickness = 0.36 * smooth_step((side - 0.9) / 0.9) * smooth_step((5.6 - side) / 2.2)
    if abs(y - brow_height(side, face[5])) < thickness:
        return BROW
    if side < nose_half_width(y):
        return NOSE
    if side < face[1]:
        upper_outer, upper, lower, lower_outer = lip_edges(x, face)
        if lower < y < upper:
            return MOUTH_INTERIOR
        if lower_outer < y < upper_outer:
            return LIP
    return SKIN


@compiled
def skin_color(x: float, y: float, z: float, face: Vector) -> Color:
    """Color the skin: rosy cheeks and nose, lash line, crease, nostrils, shade at the hairline."""
    side = abs(x)
    blush = 0.55 * hump((side - 4.1) / 2.6) * hump((y + 1.2) / 2.6) * smooth_step(z / 2.0)
    blush += 0.35 * hump(side / 1.4) * hump((y + 0.8) / 1.4)
    color = mix((0.90, 0.70, 0.58), (0.86, 0.52, 0.45), min(blush, 1.0))
    if z > 1.0:
        along = side - EYE_X
        upper, lower, crease = lid_edges(along, face[4])
        if abs(along) < EYE_HALF_WIDTH + 0.1:
            lash = hump((y - upper - 0.06) / 0.26) + 0.35 * hump((y - lower + 0.05) / 0.2)
            color = mix(color, (0.16, 0.09, 0.07), min(0.9 * lash, 1.0))
            color = mix(color, (0.60, 0.38, 0.31), 0.55 * hump((y - crease) / 0.2))
        nostril = hump((side - 0.62) / 0.42) * hump((y + 1.62) / 0.28)
        color = mix(color, (0.32, 0.14, 0.11), 0.9 * nostril)
        under_lip = hump(x / 2.0) * hump((y - MOUTH_Y + 1.75 + 0.8 * face[0]) / 0.5)
        color = mix(color, (0.68, 0.43, 0.36), 0.4 * under_lip)
        fold = hump((y - (-1.6 - 1.05 * (side - 1.9))) / 0.4) * hump((side - 2.6) / 1.0)
        color = mix(color, (0.70, 0.45, 0.37), 0.35 * fold)
    shade = smooth_step(1.0 - hair_distance(x, y, z) / 0.9)
    return mix(color, (0.50, 0.32, 0.25), 0.45 * shade)


@compiled
def hair_color(x: float, y: float, z: float) -> Color:
    """Color the hair: brown strands that fall from a parting."""
    around = math.atan2(x - 1.5, 0.6 * (z + 6.0)) + 0.03 * y
    strands = 0.5 + 0.3 * math.sin(26.0 * around + 0.8 * math.sin(0.9 * y))
    strands += 0.2 * math.sin(61.0 * around + 1.3 * y)
    return mix((0.17, 0.09, 0.055), (0.43, 0.25, 0.14), min(max(strands, 0.0), 1.0))


@compiled
def lip_color(x: float, y: float, face: Vector) -> Color:
    """Color the lips: fuller at the seam, a dark line where they touch."""
    _, upper, lower, _ = lip_edges(x, face)
    line = max(hump((y - upper) / 0.16), hump((y - lower) / 0.16))
    return mix((0.78, 0.34, 0.34), (0.36, 0.10, 0.11), 0.75 * line)


@compiled
def eye_point(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    """Return the distance along a head-space ray to the eyeball; negative if it misses."""
    centre = EYE_X if ox > 0.0 else -EYE_X
    rx, ry, rz = EYEBALL_RADII
    ux, uy, uz = (ox - centre) / rx, (oy - EYE_Y) / ry, (oz - 2.68) / rz
    vx, vy, vz = dx / rx, dy / ry, dz / rz
    a = vx * vx + vy * vy + vz * vz
    b = ux * vx + uy * vy + uz * vz
    root = b * b - a * (ux * ux + uy * uy + uz * uz - 1.0)
    if root < 0.0:
        return -1.0
    return (-b - math.sqrt(root)) / a


@compiled
def eye_color(x: float, y: float, face: Vector) -> Color:
    """Color a point of the eyeball: white, iris, pupil, and the lamp's reflection."""
    centre = EYE_X if x > 0.0 else -EYE_X
    u, v = x - centre - face[6], y - EYE_Y - face[7]
    radius = math.sqrt(u * u + v * v)
    white = mix((0.93, 0.92, 0.90), (0.80, 0.70, 0.67), smooth_step((abs(x - centre) - 0.8) / 0.8))
    iris = mix((0.34, 0.50, 0.52), (0.13, 0.22, 0.25), smooth_step((radius - 0.42) / 0.3))
    color = mix(iris, white, smooth_step((radius - 0.66) / 0.10))
    color = mix((0.03, 0.03, 0.04), color, smooth_step((radius - 0.27) / 0.10))
    glint = (u + 0.25) ** 2 + (v - 0.25) ** 2
    color = mix((1.0, 1.0, 1.0), color, smooth_step((math.sqrt(glint) - 0.12) / 0.08))
    upper, _, _ = lid_edges(abs(x) - EYE_X, face[4])
    return mix(color, (0.30, 0.24, 0.23), 0.55 * smooth_step(1.0 - (upper - y) / 0.4))


@compiled
def mouth_point(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, face: Vector
) -> tuple[float, bool]:
    """Follow a ray into the mouth: distance to the teeth or the dark behind, and whether teeth.

    The teeth are a parabolic arch behind the lips, cut off where the viseme hides them.
    """
    upper, lower = MOUTH_Y + UPPER_SHARE * face[0], MOUTH_Y - (1.0 - UPPER_SHARE) * face[0]
    front = 5.35 - TEETH_DEPTH + 0.4 * face[2]
    # z = front - arch x^2 along the ray: a quadratic with one crossing ahead.
    arch = 0.11
    a, b = arch * dx * dx, dz + 2.0 * arch * ox * dx
    c = oz - front + arch * ox * ox
    root = math.sqrt(max(b * b - 4.0 * a * c, 0.0))
    t = max(-c / b if abs(a) < 1e-9 else (-b - root) / (2.0 * a), 0.0)
    y = oy + t * dy
    if y > upper - 0.75 * face[3] or y < lower + 0.3 * face[3]:
        return t, True
    return max((front - CAVITY_DEPTH - oz) / min(dz, -0.2), 0.0), False


@compiled
def mouth_color(x: float, y: float, teeth: bool, face: Vector) -> Color:
    """Color the inside of the mouth: teeth, tongue, dark."""
    if teeth:
        gap = 0.5 + 0.5 * math.cos(2.0 * math.pi * x / 0.75)
        return mix((0.95, 0.93, 0.87), (0.72, 0.68, 0.62), 0.6 * smooth_step((gap - 0.8) / 0.2))
    lower = MOUTH_Y - (1.0 - UPPER_SHARE) * face[0]
    tongue = hump(x / 1.5) * smooth_step((lower + 0.55 * face[0] - y) / 0.3)
    return mix((0.17, 0.035, 0.04), (0.62, 0.24, 0.25), 0.85 * tongue)


@compiled
def torso_color(x: float, y: float, z: float) -> Color:
    """Color the clothes: checked jacket with lapels, pale shirt with collar, striped tie."""
    side = abs(x)
    front = z > -6.0
    if collar_distance(x, y, z) < clothes_distance(x, y, z):
        leaf = side - min(0.7 + 0.25 * (-15.3 - y), 1.15)
        if z > 0.0 and leaf < 0.0:
            return 0.52, 0.11, 0.14
        edge = hump(leaf / 0.4) if z > 0.0 else 0.0
        return mix((0.90, 0.90, 0.93), (0.60, 0.62, 0.68), 0.7 * edge)
    opening = 5.9 + 0.42 * (y + 17.0)
    if front and side < opening:
        knot = 1.0 + 0.75 * smooth_step((-17.5 - y) / 9.0)
        if side < knot:
            stripe = 0.5 + 0.5 * math.sin(2.6 * (y + 0.8 * x))
            return mix((0.45, 0.08, 0.12), (0.72, 0.30, 0.28), smooth_step((stripe - 0.55) / 0.3))
        shade = smooth_step(1.0 - (side - knot) / 0.5) + smooth_step(1.0 - (opening - side) / 0.8)
        return mix((0.90, 0.90, 0.93), (0.58, 0.60, 0.68), 0.6 * min(shade, 1.0))
    weave = 0.25 * math.sin(2.05 * x + 0.4 * math.sin(0.5 * y)) + 0.25 * math.sin(1.9 * y + 0.7)
    patches = 0.25 * math.sin(0.73 * x + 1.31 * y) + 0.25 * math.sin(1.13 * x - 0.61 * y + 2.0)
    cloth = mix((0.10, 0.14, 0.24), (0.27, 0.34, 0.48), 0.5 + weave + patches)
    lapel = side - opening
    if front and lapel < 3.6:
        cloth = mix(cloth, (0.13, 0.17, 0.28), 0.6)
        cloth = mix(cloth, (0.05, 0.07, 0.12), hump((lapel - 3.4) / 0.5))
    return cloth


@compiled
def background_color(u: float, v: float) -> Color:
    """Color the studio wall at a place of the picture, u and v in [0, 1] from its top left."""
    color = mix((0.30, 0.42, 0.50), (0.13, 0.20, 0.28), v)
    panel = math.sin(11.0 * u + 0.8 * math.sin(2.2 * v))
    color = mix(color, (0.40, 0.54, 0.60), 0.35 * smooth_step((panel - 0.1) / 0.8))
    board = 0.5 + 0.5 * math.sin(31.0 * v + 1.7 * math.sin(6.0 * u))
    color = mix(color, (0.10, 0.16, 0.22), 0.22 * board)
    for i in range(7):
        cu, cv = (0.137 + 0.381 * i) % 1.0, (0.21 + 0.287 * i) % 0.72
        radius = 0.045 + 0.012 * (i % 3)
        away = math.sqrt((u - cu) ** 2 + (v - cv) ** 2) / radius
        color = mix(color, (0.86, 0.72, 0.48), 0.40 * smooth_step((1.0 - away) / 0.35))
    return color
