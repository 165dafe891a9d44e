"""Cameras: intrinsics, and rays through pixels.

Frames (docs/conventions.md): camera axes are OpenCV's (+x right, +y down, +z forward). World is
head space, right-handed, in cm: the head rests (+x to the picture's right, +y up, +z out of the
face) and the camera moves. `camera_to_world` is (4, 4) with the columns right, down, forward,
origin. Pixel coordinates are continuous; the centre of the first pixel is (0.5, 0.5).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Vertical field of view that MediaPipe's face geometry assumes, degrees.
MEDIAPIPE_FIELD_OF_VIEW_DEG = 63.0


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """A pinhole camera in pixels."""

    fx: float
    """Focal length along x, px."""
    fy: float
    """Focal length along y, px."""
    cx: float
    """Principal point, px from the left edge."""
    cy: float
    """Principal point, px from the top edge."""
    width: int
    """Picture width, px."""
    height: int
    """Picture height, px."""

    @classmethod
    def from_field_of_view(
        cls, width: int, height: int, *, degrees: float = MEDIAPIPE_FIELD_OF_VIEW_DEG
    ) -> "Intrinsics":
        """Make a centred camera with square pixels from its vertical field of view.

        Example:
            >>> Intrinsics.from_field_of_view(100, 100, degrees=90.0).fx
            50.0
        """
        focal = round(height / (2 * math.tan(math.radians(degrees) / 2)), 9)
        return cls(fx=focal, fy=focal, cx=width / 2, cy=height / 2, width=width, height=height)

    def scaled(self, width: int, height: int) -> "Intrinsics":
        """Return the same camera for a picture resampled to another size.

        Example:
            >>> Intrinsics.from_field_of_view(100, 100).scaled(50, 50).cx
            25.0
        """
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy,
            width=width, height=height,
        )  # fmt: skip

    def cropped(self, x0: float, y0: float, *, width: int, height: int) -> "Intrinsics":
        """Return the same camera for a window of its picture.

        Args:
            x0: Left edge of the window, px.
            y0: Top edge of the window, px.
            width: Width of the window, px.
            height: Height of the window, px.
        """
        return Intrinsics(
            fx=self.fx, fy=self.fy, cx=self.cx - x0, cy=self.cy - y0, width=width, height=height
        )


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
