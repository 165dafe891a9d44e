"""Where AD-NeRF's cameras become ours and ours become theirs: the one place of this package.

Theirs (AD-NeRF, and unchanged RAD-NeRF, ER-NeRF): `transform_matrix` is camera_to_world with
OpenGL's camera (+x right, +y up, +z backward) in the space of the Basel face model (+x to the
picture's right, +y up, +z out of the face), whose origin lies somewhere inside the head; the unit
is 1 m as far as their tracker finds it. A world point X appears at

    (x, y, z) = R^T (X - o),    u = cx - f x / z,    v = cy + f y / z,    z < 0 in front.

Ours (docs/conventions.md): OpenCV's camera (+y down, +z forward), cm, MediaPipe's head space.

So the axes of the camera are flipped and metres become cm; what is left between the two worlds is
one similarity per clip, found with the face itself (`fit_similarity`).

Source: AD-NeRF's released code (Guo et al. 2021, arXiv:2103.11078), and its author on the unit
(github.com/YudongGuo/AD-NeRF, issue 93).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CM_PER_UNIT = 100.0
# Turns OpenGL's camera axes into OpenCV's, and back.
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])

Poses = NDArray[np.float64]


class Similarity(NamedTuple):
    """A change of world: X -> scale * rotation @ X + translation."""

    scale: float
    """> 0."""
    rotation: NDArray[np.float64]
    """Shape (3, 3)."""
    translation: NDArray[np.float64]
    """cm. Shape (3,)."""

    def move_points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Say points in the other world. Shape (..., 3), both ways."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)

    def move_poses(self, poses: Poses) -> Poses:
        """Say cameras in the other world: what they see stays where it is in the picture.

        Args:
            poses: camera_to_world. Shape (..., 4, 4).

        Returns:
            Rigid. Shape (..., 4, 4).
        """
        moved = poses.copy()
        moved[..., :3, :3] = self.rotation @ poses[..., :3, :3]
        moved[..., :3, 3] = self.move_points(poses[..., :3, 3])
        return moved


SAME_WORLD = Similarity(1.0, np.eye(3), np.zeros(3))


def poses_from_layout(matrices: Poses) -> Poses:
    """Turn their `transform_matrix` into camera_to_world with our camera, cm, in their world.

    Args:
        matrices: Shape (..., 4, 4).

    Returns:
        Rigid: the nearest rotation replaces the linear part. Shape (..., 4, 4).

    Example:
        >>> ahead = np.eye(4)
        >>> ahead[2, 3] = 0.5
        >>> poses_from_layout(ahead)[:3, 3]
        array([ 0.,  0., 50.])
    """
    poses = matrices @ FLIP
    left, _, right = np.linalg.svd(poses[..., :3, :3])
    poses[..., :3, :3] = left @ right
    poses[..., :3, 3] *= CM_PER_UNIT
    poses[..., 3, :] = (0.0, 0.0, 0.0, 1.0)
    return poses


def poses_to_layout(poses: Poses) -> Poses:
    """Turn camera_to_world into their `transform_matrix`; their world becomes ours in metres.

    Args:
        poses: camera_to_world, cm. Shape (..., 4, 4).

    Returns:
        Shape (..., 4, 4).
    """
    matrices = poses @ FLIP
    matrices[..., :3, 3] /= CM_PER_UNIT
    return matrices


def fill_poses(poses: Poses, known: NDArray[np.bool_]) -> Poses:
    """Give frames without a camera one between their neighbours'; beyond the ends the last holds.

    Args:
        poses: Rigid, anything where not known. Shape (frames, 4, 4).
        known: At least one is True. Shape (frames,).

    Returns:
        Rigid. Shape (frames, 4, 4).
    """
    filled = poses.copy()
    at, lost = np.flatnonzero(known), np.flatnonzero(~known)
    for row, column in np.ndindex(4, 4):
        filled[lost, row, column] = np.interp(lost, at, poses[at, row, column])
    left, _, right = np.linalg.svd(filled[lost, :3, :3])
    left[..., :, 2] *= np.linalg.det(left @ right)[..., None]
    filled[lost, :3, :3] = left @ right
    return filled


def fit_similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> Similarity:
    """Find the similarity that takes points nearest to others, in the least-squares sense.

    Args:
        source: Shape (points, 3), not all on one line.
        target: The same points in the other world. Shape (points, 3).

    Returns:
        Never a mirror image.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters", eq. 40 to 42.
    """
    from_middle = source - source.mean(axis=0)
    to_middle = target - target.mean(axis=0)
    left, strength, right = np.linalg.svd(to_middle.T @ from_middle)
    keep = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * keep) @ right
    scale = float((strength * keep).sum() / (from_middle**2).sum())
    shift = target.mean(axis=0) - scale * rotation @ source.mean(axis=0)
    return Similarity(scale, np.asarray(rotation), np.asarray(shift))
