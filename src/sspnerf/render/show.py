"""What a rendered frame can show instead of its colors: labels, depth, accumulation, normals.

Pure functions from a `RenderedFrame` to RGB pictures, uint8 (height, width, 3).
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sspnerf.data.semantics import color_labels
from sspnerf.geometry.cameras import pixel_centers, pixel_directions
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.render.portrait import RenderedFrame

Show = Literal["color", "semantics", "depth", "accumulation", "normals"]

# The depth map's colors span the head and the shoulders: so far before and behind the origin of
# head space, cm.
DEPTH_BEFORE_CM = 10.0
DEPTH_BEHIND_CM = 25.0
# Far to near, evenly spaced: dark violet over red to pale yellow, each lighter than the one before.
# Source: matplotlib's "inferno" (CC0) at 0.2, 0.4 ... 1; black is left to the background.
DEPTH_RAMP = ((66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
# Pixels that are more person than background have a surface.
ON_PERSON = 0.5
# Neighbouring pixels lie on one surface unless it falls off more steeply than so many pixel widths
# per pixel (76 degrees), or than so many cm, whichever is more: what is learned is a little rough.
STEEPEST = 4.0
ROUGHNESS_CM = 0.5


class DepthRange(NamedTuple):
    """Distances that the depth map's colors span, cm."""

    near: float
    far: float


def depth_range(poses: Float[Tensor, "frames 4 4"]) -> DepthRange:
    """Choose one depth range for a whole film, so that it does not flicker.

    Args:
        poses: camera_to_world of the film's frames. Shape (frames, 4, 4).

    Returns:
        From 10 cm before to 25 cm behind the median distance of head space's origin; never before
        the camera.
    """
    distance = float(poses[:, :3, 3].norm(dim=-1).median())
    return DepthRange(max(0.0, distance - DEPTH_BEFORE_CM), distance + DEPTH_BEHIND_CM)


def show(
    frame: RenderedFrame, *, what: Show, intrinsics: Intrinsics, depth: DepthRange
) -> NDArray[np.uint8]:
    """Draw one of a frame's maps.

    Args:
        frame: What was rendered.
        what: Which map. Color is returned as it is.
        intrinsics: The camera.
        depth: Distances that the depth map's colors span.

    Returns:
        RGB. Shape (height, width, 3).
    """
    if what == "semantics":
        return color_labels(frame.labels)
    if what == "depth":
        return show_depth(frame, depth)
    if what == "accumulation":
        return _to_bytes(np.repeat(frame.accumulation[..., None], 3, axis=-1) * 255)
    if what == "normals":
        return show_normals(frame, intrinsics)
    return frame.color


def show_depth(frame: RenderedFrame, depth: DepthRange) -> NDArray[np.uint8]:
    """Draw distances along the rays: near is bright, the background black.

    Distances outside the range have the color of its end.

    Args:
        frame: What was rendered.
        depth: Distances that the colors span, cm.
    """
    nearness = np.clip((depth.far - frame.distance) / (depth.far - depth.near), 0, 1)
    ramp = np.array(DEPTH_RAMP, dtype=np.float64)
    place = np.linspace(0, 1, len(ramp))
    color = np.stack([np.interp(nearness, place, ramp[:, c]) for c in range(3)], axis=-1)
    return _to_bytes(color * frame.accumulation[..., None])


def show_normals(frame: RenderedFrame, intrinsics: Intrinsics) -> NDArray[np.uint8]:
    """Draw which way the surface faces.

    Red is x (right), green y (up), blue z (towards the viewer): 128 + 127 n, so that 0 is exactly
    128 (a plane that faces the camera is 128, 128, 255). Dimmed by accumulation; black where there
    is no person or no normal.

    Args:
        frame: What was rendered.
        intrinsics: The camera.
    """
    normal = surface_normals(frame.distance, frame.accumulation, intrinsics)
    known = (normal != 0).any(axis=-1)
    weight = np.where(known, frame.accumulation, 0)[..., None]
    return _to_bytes((128 + 127 * normal) * weight)


def surface_normals(
    distance: NDArray[np.float32], accumulation: NDArray[np.float32], intrinsics: Intrinsics
) -> NDArray[np.float64]:
    """Find the surface's normals from a distance map.

    The cross product of what separates a pixel's neighbours along x and along y, in camera space.
    Only neighbours that lie on the person at a similar distance count: the step from a silhouette
    to what is behind it is no wall. Exact on planes.

    Args:
        distance: Along the rays, cm. Shape (height, width).
        accumulation: How much of each pixel is person, [0, 1]. Shape (height, width).
        intrinsics: The camera.

    Returns:
        Unit normals towards the camera: x right, y up, z towards the viewer. Zero where there is no
        person, or no such neighbour along x or along y. Shape (height, width, 3).
    """
    pixels = pixel_centers(intrinsics.width, intrinsics.height).double()
    direction = pixel_directions(intrinsics, pixels).numpy().reshape(*distance.shape, 3)
    person = accumulation > ON_PERSON
    across, down = (
        _separation(distance.astype(np.float64), direction, person, axis=axis, focal=focal)
        for axis, focal in ((1, intrinsics.fx), (0, intrinsics.fy))
    )
    # In camera axes (right, down, forward) the product points away from the camera. Turned round,
    # and with y up and z towards the viewer, only x changes its sign.
    normal = np.cross(across, down) * (-1, 1, 1)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = normal / np.where(length > 0, length, 1) + 0.0
    return unit


def _separation(
    distance: NDArray[np.float64],
    direction: NDArray[np.float64],
    person: NDArray[np.bool_],
    *,
    axis: int,
    focal: float,
) -> NDArray[np.float64]:
    """Add up the steps to a pixel's two neighbours along an axis that lie on its surface."""
    ahead, behind = [slice(None)] * 2, [slice(None)] * 2
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    first, second = tuple(behind), tuple(ahead)
    step = np.diff(distance[..., None] * direction, axis=axis)
    steepest = np.maximum(ROUGHNESS_CM, STEEPEST * distance[first] / focal)
    same = np.abs(np.diff(distance, axis=axis)) < steepest
    step = step * (same & person[first] & person[second])[..., None]
    total = np.zeros_like(direction)
    total[first] += step
    total[second] += step
    return total


def _to_bytes(color: NDArray[np.floating]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(color), 0, 255).astype(np.uint8)
    return rounded
