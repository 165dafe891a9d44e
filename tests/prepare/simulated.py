"""A face whose poses are known: points in space, seen by a camera that moves around them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sspnerf.geometry.cameras import Intrinsics

CAMERA = Intrinsics.from_field_of_view(512, 512)
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


class Take(NamedTuple):
    """A simulated take."""

    rest: NDArray[np.float64]
    """Points on the face, cm. Shape (points, 3)."""
    poses: NDArray[np.float64]
    """camera_to_world. Shape (frames, 4, 4)."""
    seen_px: NDArray[np.float64]
    """Where the points appear. Shape (frames, points, 2)."""


def simulate(points: int, frames: int, seed: int) -> Take:
    """Let a head nod, turn and sway 40 cm in front of the camera, as talking heads do."""
    random = np.random.default_rng(seed)
    across = random.uniform(-7, 7, (points, 2))
    # A bulging face: the middle is 5 cm nearer than the rim.
    rest = np.column_stack((across, 5 - 0.07 * (across**2).sum(axis=1)))
    time = np.arange(frames) / 25
    turn = Rotation.from_euler(
        "xyz",
        np.column_stack((5 * np.sin(3 * time), 9 * np.sin(1.9 * time + 1), 3 * np.cos(3 * time))),
        degrees=True,
    )
    head_to_gl_camera = np.tile(np.eye(4), (frames, 1, 1))
    head_to_gl_camera[:, :3, :3] = turn.as_matrix()
    head_to_gl_camera[:, :3, 3] = np.column_stack(
        (1.5 * np.sin(1.7 * time), 0.8 * np.cos(2.9 * time), -40 + 2 * np.sin(1.1 * time))
    )
    poses = np.linalg.inv(FLIP @ head_to_gl_camera)
    return Take(rest, poses, project(poses, rest))


def project(poses: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pinhole projection, written out. Shape (frames, points, 2)."""
    ahead = np.concatenate((points, np.ones((len(points), 1))), axis=1)
    in_camera = np.einsum("fij,pj->fpi", np.linalg.inv(poses), ahead)
    return np.stack(
        (
            CAMERA.fx * in_camera[..., 0] / in_camera[..., 2] + CAMERA.cx,
            CAMERA.fy * in_camera[..., 1] / in_camera[..., 2] + CAMERA.cy,
        ),
        axis=-1,
    )
