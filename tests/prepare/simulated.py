"""A face whose poses are known: points in space, seen by a camera that moves around them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.observations import Observations

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


def simulate(
    points: int,
    frames: int,
    seed: int,
    *,
    frame_rate_hz: float = 25.0,
    swing: float = 1.0,
    camera: Intrinsics = CAMERA,
) -> Take:
    """Let a head nod, turn and sway in front of the camera, as talking heads do.

    It stands 40 cm away, or as much further as the camera's lens is longer, so that it appears in
    the same size. `swing` makes it turn further.
    """
    random = np.random.default_rng(seed)
    across = random.uniform(-7, 7, (points, 2))
    # A bulging face: the middle is 5 cm nearer than the rim.
    rest = np.column_stack((across, 5 - 0.07 * (across**2).sum(axis=1)))
    time = np.arange(frames) / frame_rate_hz
    turn = Rotation.from_euler(
        "xyz",
        swing
        * np.column_stack((5 * np.sin(3 * time), 9 * np.sin(1.9 * time + 1), 3 * np.cos(3 * time))),
        degrees=True,
    )
    away = camera.fx / CAMERA.fx
    head_to_gl_camera = np.tile(np.eye(4), (frames, 1, 1))
    head_to_gl_camera[:, :3, :3] = turn.as_matrix()
    head_to_gl_camera[:, :3, 3] = np.column_stack(
        (
            1.5 * np.sin(1.7 * time),
            0.8 * np.cos(2.9 * time),
            away * (-40 + 2 * np.sin(1.1 * time)),
        )
    )
    poses = np.linalg.inv(FLIP @ head_to_gl_camera)
    return Take(rest, poses, project(poses, rest, camera))


def project(
    poses: NDArray[np.float64], points: NDArray[np.float64], camera: Intrinsics = CAMERA
) -> NDArray[np.float64]:
    """Pinhole projection, written out. Shape (frames, points, 2)."""
    ahead = np.concatenate((points, np.ones((len(points), 1))), axis=1)
    in_camera = np.einsum("fij,pj->fpi", np.linalg.inv(poses), ahead)
    return np.stack(
        (
            camera.fx * in_camera[..., 0] / in_camera[..., 2] + camera.cx,
            camera.fy * in_camera[..., 1] / in_camera[..., 2] + camera.cy,
        ),
        axis=-1,
    )


def disturbed(take: Take, seed: int, *, noise_px: float = 1.0) -> NDArray[np.float64]:
    """Add noise, and put one landmark in ten anywhere within 30 px."""
    random = np.random.default_rng(seed)
    seen = take.seen_px + random.normal(0, noise_px, take.seen_px.shape)
    lost = random.random(seen.shape[:2]) < 0.1
    seen[lost] += random.uniform(-30, 30, (lost.sum(), 2))
    return seen


def rough(poses: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Make poses as single frames give them: 2 degrees and 3 mm off."""
    random = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(random.normal(0, 0.02, (len(poses), 3))).as_matrix()
    guess = poses.copy()
    guess[:, :3, :3] = poses[:, :3, :3] @ turn
    guess[:, :3, 3] += random.normal(0, 0.3, (len(poses), 3))
    return guess


def as_landmarks(
    take: Take, seen_px: NDArray[np.float64] | None = None, camera: Intrinsics = CAMERA
) -> NDArray[np.float64]:
    """Say it as MediaPipe does: depth relative to the head's origin, in px-like units."""
    in_camera = np.linalg.inv(take.poses)
    depth = np.einsum("fj,pj->fp", in_camera[:, 2, :3], take.rest)
    z = depth / in_camera[:, 2, 3, None] * camera.fx
    return np.concatenate((take.seen_px if seen_px is None else seen_px, z[..., None]), axis=-1)


def observations(
    take: Take, seed: int, *, noise_px: float = 1.0, camera: Intrinsics = CAMERA
) -> Observations:
    """Observe a take of 478 points as MediaPipe would: noisy, and as if through its own lens."""
    random = np.random.default_rng(seed)
    to_camera = np.linalg.inv(take.poses)
    # A head in single frames: turned wrongly by 1 degree, 0.3 mm aside, 3 mm nearer or further.
    turn = Rotation.from_rotvec(random.normal(0, 0.01, (len(to_camera), 3))).as_matrix()
    to_camera[:, :3, :3] = to_camera[:, :3, :3] @ turn
    to_camera[:, :3, 3] += random.normal(0, [0.03, 0.03, 0.3], (len(to_camera), 3))
    to_camera[:, 2, 3] *= CAMERA.fx / camera.fx
    landmarks = as_landmarks(take, disturbed(take, seed, noise_px=noise_px), camera)
    return Observations(
        landmarks.astype(np.float32),
        FLIP @ to_camera,
        np.full((len(take.poses), 52), 0.25, np.float32),
    )


def camera_errors(
    found: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rotation in degrees, sideways and depth in mm, of the face's middle in camera space."""
    error = 10 * np.abs(np.linalg.inv(found)[:, :3, 3] - np.linalg.inv(truth)[:, :3, 3])
    return np.degrees(rotation_angles(found, truth)), error[:, :2].max(axis=1), error[:, 2]


def rotation_angles(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle between two rotations, radians."""
    turn = first[..., :3, :3].swapaxes(-1, -2) @ second[..., :3, :3]
    return np.asarray(Rotation.from_matrix(turn).magnitude())
