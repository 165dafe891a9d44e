"""The surface that continues the face at rest over hair and torso.

The mesh covers the face only. Beyond its rim the surface recedes steadily, which is roughly what
hair, neck and shoulders do; it places the samples of a ray (see `intersect_surface`), and learning
finds the true shape within a band around it.

The surface is a height field over world's x and y: z, cm, out of the face, on a square grid.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from sspnerf.geometry.face_mesh import FaceMesh

# How far the surface falls back per cm of distance from the face's rim, and how smoothly.
# Source: tried by hand on real clips (hair, neck and shoulders lie within 4 cm of it).
RECESSION = 0.35
SMOOTHING_CM = 0.5
SURFACE_NODES = 129
FIXED_POINT_STEPS = 4


def rest_surface(
    mesh: FaceMesh, *, extent: float, nodes: int = SURFACE_NODES
) -> NDArray[np.float32]:
    """Turn the face at rest into a height field that covers the whole portrait.

    Args:
        mesh: The face at rest, world space.
        extent: Half the side of the square that the field covers, cm.
        nodes: Grid nodes along each axis; the first lies at -extent, the last at +extent.

    Returns:
        Height z at (y, x), cm. Shape (nodes, nodes), float32.
    """
    axis = np.linspace(-extent, extent, nodes)
    x, y = np.meshgrid(axis, axis)
    height = LinearNDInterpolator(mesh.vertices[:, :2], mesh.vertices[:, 2])(x, y)
    outside = np.isnan(height)
    spacing = axis[1] - axis[0]
    distance, (row, column) = distance_transform_edt(outside, return_indices=True)
    # A wide average of the rim: single rim vertices would draw streaks across the shoulders.
    continued = height[row, column] - RECESSION * distance * spacing
    surface = gaussian_filter(continued, SMOOTHING_CM / spacing, mode="nearest")
    far = gaussian_filter(continued, 4 * SMOOTHING_CM / spacing, mode="nearest")
    blend = np.clip(distance * spacing / (6 * SMOOTHING_CM), 0, 1)
    return np.asarray((1 - blend) * surface + blend * far, dtype=np.float32)


def surface_height(
    surface: Float[Tensor, "nodes nodes"], x: Float[Tensor, "*rays"], y: Float[Tensor, "*rays"],
    *, extent: float,
) -> Float[Tensor, "*rays"]:  # fmt: skip
    """Look up the surface, bilinearly; beyond its border the border's value holds.

    Args:
        surface: Heights z at (y, x), cm. Shape (nodes, nodes).
        x: World x, cm. Shape (*rays).
        y: World y, cm. Shape (*rays).
        extent: Half the side that the surface covers, cm.

    Returns:
        World z, cm. Shape (*rays).
    """
    grid = torch.stack((x, y), dim=-1).reshape(1, -1, 1, 2) / extent
    height = torch.nn.functional.grid_sample(
        surface[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return height.reshape(x.shape)


def intersect_surface(
    surface: Float[Tensor, "nodes nodes"],
    origin: Float[Tensor, "*rays 3"],
    direction: Float[Tensor, "*rays 3"],
    *,
    extent: float,
) -> Float[Tensor, "*rays"]:
    """Find where rays meet the surface.

    A few steps of a damped fixed point: go to the plane at the height found so far, look the height
    up there, repeat. Exact where the surface is flat; elsewhere within a small part of the band
    that samples are placed in, which is all it is for. Not meant to be differentiated.

    Args:
        surface: Heights z at (y, x), cm. Shape (nodes, nodes).
        origin: Ray starts in world space, in front of the face. Shape (*rays, 3).
        direction: Unit vectors, towards the face (negative z). Shape (*rays, 3).
        extent: Half the side that the surface covers, cm.

    Returns:
        Distance along each ray, cm. Shape (*rays).
    """
    # A ray that runs along the face never meets its plane: look at it as slightly inclined.
    slope = direction[..., 2].clamp(max=-0.2)
    height = torch.zeros_like(slope)
    for step in range(FIXED_POINT_STEPS):
        distance = (height - origin[..., 2]) / slope
        x = origin[..., 0] + distance * direction[..., 0]
        y = origin[..., 1] + distance * direction[..., 1]
        found = surface_height(surface, x, y, extent=extent)
        height = found if step == 0 else height + 0.7 * (found - height)
    return (height - origin[..., 2]) / slope
