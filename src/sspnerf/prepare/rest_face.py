"""The face at rest: one mesh for the whole clip, triangulated from where its points appear.

Symbols: X = a rest vertex in world space (head space, cm); (R, t) = world_to_camera of a frame in
OpenCV axes; a = ((u - cx) / fx, (v - cy) / fy), the slope of the ray to it. Frames are read in
blocks, so landmarks may be a memory map of any length.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.poses import Poses, invert_rigid

# The guessed face against the rays, per frame: these stray by 0.05 cm at the face, it by 2 cm.
# It must grow with the frames: the rays' noise pulls what does not turn towards the camera.
GUESS_WEIGHT = 6e-4
# Landmarks that stray by more than this share of the picture's height lose their say (8 px of 512).
STRAY = 8 / 512
# Passes of triangulation: all landmarks alike, then by how well they fit.
PASSES = 2
# Frames that are held in float64 at once.
BLOCK = 256

# Landmarks on bone: bridge and sides of the nose, corners and rims of the eyes, temples, cheek
# bones. Chosen on MediaPipe's canonical face and kept if they stray little from a rigid face in the
# five real clips. The forehead is not among them: brows pull it about, twice as far as the rest
# strays.
RIGID_LANDMARKS = np.array(
    [
        6, 197, 195, 5, 4, 122, 351, 196, 419, 174, 399, 3, 248, 51, 281, 198, 420, 131, 360, 134,
        363, 236, 456, 188, 412, 217, 437, 128, 357, 126, 355, 121, 350, 245, 465, 133, 362, 130,
        359, 243, 463, 226, 446, 244, 464, 233, 453, 127, 356, 162, 389, 34, 264, 139, 368, 143,
        372, 116, 345, 117, 346, 118, 347, 119, 348, 120, 349, 111, 340, 100, 329, 101, 330, 35,
        265, 31, 261, 228, 448, 229, 449, 47, 277, 114, 343, 227, 447,
    ]
)  # fmt: skip


def find_rest(
    landmarks: NDArray[np.floating],
    poses: Poses,
    intrinsics: Intrinsics,
    *,
    frames: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Guess the face from its depths, then triangulate it.

    Args:
        landmarks: x, y in px, z in px-like units towards the back. Shape (all frames, points, 3).
        poses: camera_to_world. Shape (frames, 4, 4).
        intrinsics: The camera.
        frames: Which of the landmarks' frames the poses belong to; all if None. Shape (frames,).

    Returns:
        World positions, cm. Shape (points, 3).
    """
    guess = guess_rest(landmarks, poses, intrinsics, frames=frames)
    return triangulate_rest(landmarks, poses, intrinsics, guess=guess, frames=frames)


def guess_rest(
    landmarks: NDArray[np.floating],
    poses: Poses,
    intrinsics: Intrinsics,
    *,
    frames: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Guess the face at rest from the depth that single pictures suggest (right to about 0.5 cm).

    Args:
        landmarks: x, y in px, z in px-like units towards the back. Shape (all frames, points, 3).
        poses: camera_to_world. Shape (frames, 4, 4).
        intrinsics: The camera.
        frames: As in `find_rest`.

    Returns:
        World positions, cm, averaged over the frames. Shape (points, 3).
    """
    total = np.zeros((landmarks.shape[1], 3))
    for block, chosen in _blocks(len(poses), frames):
        seen, pose = landmarks[chosen].astype(np.float64), poses[block]
        distance = invert_rigid(pose)[:, 2, 3, None]
        depth = distance * (1 + seen[..., 2] / intrinsics.fx)
        in_camera = np.stack(
            (
                (seen[..., 0] - intrinsics.cx) / intrinsics.fx * depth,
                (seen[..., 1] - intrinsics.cy) / intrinsics.fy * depth,
                depth,
            ),
            axis=-1,
        )
        in_world = in_camera @ pose[:, :3, :3].swapaxes(-1, -2) + pose[:, None, :3, 3]
        total += in_world.sum(axis=0)
    return total / len(poses)


def triangulate_rest(
    seen_px: NDArray[np.floating],
    poses: Poses,
    intrinsics: Intrinsics,
    *,
    guess: NDArray[np.float64] | None = None,
    frames: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Find the face at rest: each landmark's place in head space that fits all frames best.

    Linear least squares per point: (R_x - a_x R_z) X = a_x t_z - t_x, and the same for y; a second
    pass hardly hears what strays. What moves (lips, brows) comes out where it mostly is. A head
    that does not turn says nothing about depth: there the guess decides.

    Args:
        seen_px: Landmarks in the picture; what follows x and y is ignored. Shape (all frames,
            points, 2 or more).
        poses: camera_to_world. Shape (frames, 4, 4).
        intrinsics: The camera.
        guess: World positions, cm, from `guess_rest`, or None. Shape (points, 3).
        frames: As in `find_rest`.

    Returns:
        World positions, cm. Shape (points, 3).
    """
    rest: NDArray[np.float64] | None = None
    for _ in range(PASSES):
        normal, moment = _normal_equations(seen_px, poses, intrinsics, frames, rest)
        if guess is not None:
            weight = GUESS_WEIGHT * len(poses)
            normal += weight * np.eye(3)
            moment += weight * guess
        rest = np.asarray(np.linalg.solve(normal, moment[..., None])[..., 0])
    assert rest is not None, "no pass"  # noqa: S101
    return rest


def _normal_equations(
    seen_px: NDArray[np.floating],
    poses: Poses,
    intrinsics: Intrinsics,
    frames: NDArray[np.int64] | None,
    rest: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum over frames, (points, 3, 3) and (points, 3); weighted by how well `rest` fits."""
    points = seen_px.shape[1]
    normal, moment = np.zeros((points, 3, 3)), np.zeros((points, 3))
    for block, chosen in _blocks(len(poses), frames):
        row = invert_rigid(poses[block])[:, :3]
        slope = seen_px[chosen, :, :2].astype(np.float64) - (intrinsics.cx, intrinsics.cy)
        slope /= (intrinsics.fx, intrinsics.fy)
        weight = _trust(row, slope, rest, STRAY * intrinsics.height / intrinsics.fy)
        # Multiplied out, so that the sums over frames are matrix products.
        ahead = row[:, 2]
        by_ahead = _pairs(ahead, ahead)
        for axis in range(2):
            across, a = row[:, axis], slope[..., axis].T
            both = _pairs(across, ahead) + _pairs(ahead, across)
            product = weight @ _pairs(across, across) - (weight * a) @ both
            product = (product + (weight * a**2) @ by_ahead).reshape(points, 4, 4)
            normal += product[:, :3, :3]
            moment -= product[:, :3, 3]
    return normal, moment


def _trust(
    row: NDArray[np.float64],
    slope: NDArray[np.float64],
    rest: NDArray[np.float64] | None,
    stray: float,
) -> NDArray[np.float64]:
    """How much each frame's say about each point counts (Cauchy). Shape (points, frames)."""
    if rest is None:
        return np.ones(slope.shape[1::-1])
    x, y, z = (row[:, :, :3] @ rest.T + row[:, :, 3:]).swapaxes(0, 1)
    distance = (x / z - slope[..., 0]) ** 2 + (y / z - slope[..., 1]) ** 2
    return np.asarray(1 / (1 + distance / stray**2)).T


def _pairs(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outer products of rows, flattened. Shape (frames, 16)."""
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)


def _blocks(
    frames: int, chosen: NDArray[np.int64] | None
) -> Iterator[tuple[slice, slice | NDArray[np.int64]]]:
    """Yield blocks of poses, each with the landmarks' frames that belong to them."""
    for first in range(0, frames, BLOCK):
        block = slice(first, first + BLOCK)
        yield block, block if chosen is None else chosen[block]
