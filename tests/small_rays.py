"""A camera of 24 x 24 px before a ball of 6 cm, and its rays."""

import torch

from sspnerf.geometry.cameras import pixel_centers
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.geometry.rays import RayBundle, cast_rays

SIZE, RADIUS, DISTANCE = 24, 6.0, 60.0
CAMERA = Intrinsics(fx=60.0, fy=60.0, cx=12.0, cy=12.0, width=SIZE, height=SIZE)
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
FACING[2, 3] = DISTANCE


def rays_of(pose: torch.Tensor = FACING, torso_pose: torch.Tensor | None = None) -> RayBundle:
    pixels = pixel_centers(SIZE, SIZE)
    return cast_rays(
        CAMERA,
        pixels,
        poses=pose[None],
        torso_poses=(pose if torso_pose is None else torso_pose)[None],
        slot=torch.zeros(len(pixels), dtype=torch.long),
    )
