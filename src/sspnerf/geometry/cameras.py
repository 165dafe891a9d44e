"""Cameras: rays through pixels, and pixels of points.

Frames (docs/conventions.md): camera axes are OpenCV's (+x right, +y down, +z forward). World is
head space, right-handed, in cm: the head rests (+x to the picture's right, +y up, +z out of the
face) and the camera moves. `camera_to_world` is (4, 4) with the columns right, down, forward,
origin. Pixel coordinates are continuous; the centre of the first pixel is (0.5, 0.5).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.geometry.intrinsics import Intrinsics


def pixel_directions(
    intrinsics: Intrinsics, pixels: Float[Tensor, "*rays 2"]
) -> Float[Tensor, "*rays 3"]:
    """Point from the camera's centre through pixels, in camera axes.

    Args:
        intrinsics: The camera.
        pixels: Continuous coordinates x, y, px. Shape (*rays, 2).

    Returns:
        Unit directions, shape (*rays, 3).

    Example:
        >>> camera = Intrinsics.from_field_of_view(2, 2)
        >>> pixel_directions(camera, torch.tensor([1.0, 1.0]))
        tensor([0., 0., 1.])
    """
    x = (pixels[..., 0] - intrinsics.cx) / intrinsics.fx
    y = (pixels[..., 1] - intrinsics.cy) / intrinsics.fy
    return torch.nn.functional.normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)


def pixel_centers(width: int, height: int) -> Float[Tensor, "pixels 2"]:
    """List the centres of all pixels, row by row.

    Returns:
        Continuous x, y. Shape (height * width, 2).

    Example:
        >>> pixel_centers(2, 1)
        tensor([[0.5000, 0.5000],
                [1.5000, 0.5000]])
    """
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32) + 0.5,
        torch.arange(width, dtype=torch.float32) + 0.5,
        indexing="ij",
    )
    return torch.stack((x, y), dim=-1).reshape(-1, 2)


def project_points(
    intrinsics: Intrinsics,
    camera_to_world: Float[Tensor, "*batch 4 4"],
    points: Float[Tensor, "*batch 3"],
) -> Float[Tensor, "*batch 2"]:
    """Find where world points appear in the picture.

    Args:
        intrinsics: The camera.
        camera_to_world: Where it stands. Shape (*batch, 4, 4).
        points: World positions, cm, in front of the camera. Shape (*batch, 3).

    Returns:
        Continuous pixel coordinates x, y. Shape (*batch, 2).
    """
    rotation, origin = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3]
    in_camera = (rotation.transpose(-1, -2) @ (points - origin)[..., None])[..., 0]
    x = intrinsics.fx * in_camera[..., 0] / in_camera[..., 2] + intrinsics.cx
    y = intrinsics.fy * in_camera[..., 1] / in_camera[..., 2] + intrinsics.cy
    return torch.stack((x, y), dim=-1)
