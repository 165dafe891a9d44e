"""The surface that continues the face at rest over hair and torso.

The mesh covers the face only. Beyond its rim the surface recedes steadily, which is roughly what
hair, neck and shoulders do; it places the samples of a ray (see `intersect_surface`), and learning
finds the true shape within a band around it.

The surface is a height field over world's x and y: z, cm, out of the face, on a square grid.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.ops import band

# How far the surface falls back per cm of distance from the face's rim, and how smoothly.
# Source: tried by hand on real clips (hair, neck and shoulders lie within 4 cm of it).
RECESSION = 0.35
SMOOTHING_CM = 0.5
SURFACE_NODES = 129


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
    """Look up the surface; see `ops.band.surface_height`."""
    return band.surface_height(surface, x, y, extent=extent)


def intersect_surface(
    surface: Float[Tensor, "nodes nodes"],
    origin: Float[Tensor, "*rays 3"],
    direction: Float[Tensor, "*rays 3"],
    *,
    extent: float,
) -> Float[Tensor, "*rays"]:
    """Find where rays meet the surface, cm along each; see `ops.band.hit_surface`."""
    distance = band.hit_surface(
        surface, origin.reshape(-1, 3), direction.reshape(-1, 3), extent=extent
    )
    return distance.reshape(origin.shape[:-1])
