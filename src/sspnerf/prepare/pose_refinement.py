"""Poses that fit the landmarks of all frames at once and move as heads do.

Minimises over all frames i and rigid landmarks k, in one sparse least-squares problem,

    sum_ik w_ik |u_ik - project(R_i X_k + t_i)|^2 / s^2  +  sum_i |D2 theta_i / a|^2

with theta = (rotation vector from the mean rotation, place of the landmarks' centroid in camera
space) and D2 its second difference in time. Robust weights w and D2's scale a decide what is noise.
There is no past and future in it: nothing lags. Turning about the centroid, not about the middle of
the head, keeps errors of rotation out of the place in the picture, which is known best.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from sspnerf.geometry.cameras import Intrinsics

ITERATIONS = 8
LEAST_NOISE_PX = 0.01
# Error of one landmark, as a share of the picture's height (1.2 px of 512).
LANDMARK_NOISE = 1.2 / 512
# Landmarks err together (the network sees one face, not 100 points): so many tell as much as one.
LANDMARKS_PER_FACT = 4.0
# Beyond so many times its noise a landmark loses its say (Cauchy).
OUTLIER_FACTOR = 2.0
# Second differences that are usual, per frame^2: rotation in radians, sideways and depth in cm.
# Sideways is hardly held back: the picture shows it to a tenth of a pixel, and the field needs it
# that well.
USUAL_ACCELERATION = np.array([0.0015, 0.0015, 0.0015, 0.15, 0.15, 0.02])
# Accelerations beyond so many times the usual are motion, not noise (Cauchy).
MOTION_FACTOR = 3.0
PARAMETERS = 6


class PoseRefinement(NamedTuple):
    """Refined poses and how well they fit."""

    poses: NDArray[np.float64]
    """camera_to_world. Shape (frames, 4, 4)."""
    reprojection_px: float
    """Root mean square distance of the landmarks from where they should appear, px."""


class _Problem(NamedTuple):
    rest: NDArray[np.float64]
    """Rigid landmarks around their centroid, in the mean camera's axes. Shape (points, 3)."""
    seen_px: NDArray[np.float64]
    """Shape (frames, points, 2); 0 where lost."""
    has_face: NDArray[np.bool_]
    intrinsics: Intrinsics


def refine_poses(
    poses: NDArray[np.float64],
    rest: NDArray[np.float64],
    seen_px: NDArray[np.float64],
    intrinsics: Intrinsics,
) -> PoseRefinement:
    """Fit all poses to the rigid landmarks, smoothly in time.

    Args:
        poses: First guess, camera_to_world, every frame filled in. Shape (frames, 4, 4).
        rest: Rigid landmarks of the face at rest, cm. Shape (points, 3).
        seen_px: The same landmarks in the pictures; NaN where the face was lost. Shape (frames,
            points, 2).
        intrinsics: The camera.

    Returns:
        Poses that follow the landmarks; lost frames follow from their neighbours, and before the
        first and after the last face the pose holds.
    """
    to_camera = Rotation.from_matrix(poses[:, :3, :3]).inv()
    mean, centroid = to_camera.mean(), rest.mean(axis=0)
    place = to_camera.apply(centroid - poses[:, :3, 3])
    theta = np.concatenate(((to_camera * mean.inv()).as_rotvec(), place), axis=1)
    has_face = np.asarray(np.isfinite(seen_px).all(axis=(1, 2)))
    problem = _Problem(mean.apply(rest - centroid), np.nan_to_num(seen_px), has_face, intrinsics)
    point_noise = np.full(len(rest), LANDMARK_NOISE * intrinsics.height)
    for iteration in range(ITERATIONS):
        residual, jacobian = _linearise(problem, theta)
        if iteration == ITERATIONS // 2:
            point_noise = _noise_per_point(residual[has_face])
        theta = theta + _step(problem, theta, residual, jacobian, point_noise)
    residual, _ = _linearise(problem, theta)
    error = np.sqrt((residual[has_face] ** 2).sum(axis=-1).mean())
    rotation = (Rotation.from_rotvec(theta[:, :3]) * mean).inv()
    refined = np.tile(np.eye(4), (len(theta), 1, 1))
    refined[:, :3, :3] = rotation.as_matrix()
    refined[:, :3, 3] = centroid - rotation.apply(theta[:, 3:])
    # The temporal term alone would let the head fly on as it moved last.
    first, last = np.flatnonzero(has_face)[[0, -1]]
    refined[:first], refined[last + 1 :] = refined[first], refined[last]
    return PoseRefinement(refined, float(error))


def _linearise(
    problem: _Problem, theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residuals (frames, points, 2) and their derivative by theta (frames, points, 2, 6)."""
    camera = problem.intrinsics
    rotation = Rotation.from_rotvec(theta[:, :3]).as_matrix()
    turned = problem.rest @ rotation.swapaxes(-1, -2)
    x, y, z = np.moveaxis(turned + theta[:, None, 3:], -1, 0)
    projected = np.stack((camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy), axis=-1)
    zero = np.zeros_like(z)
    by_point = np.stack(
        (
            np.stack((camera.fx / z, zero, -camera.fx * x / z**2), axis=-1),
            np.stack((zero, camera.fy / z, -camera.fy * y / z**2), axis=-1),
        ),
        axis=-2,
    )
    by_rotation = -by_point @ _cross_matrices(turned) @ _left_jacobians(theta[:, :3])[:, None]
    residual = (problem.seen_px - projected) * problem.has_face[:, None, None]
    return residual, np.concatenate((by_rotation, by_point), axis=-1)


def _cross_matrices(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """[v]x, so that [v]x w = v x w. Shape (..., 3) -> (..., 3, 3)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _left_jacobians(rotvec: NDArray[np.float64]) -> NDArray[np.float64]:
    """J of d exp(v) = [J dv]x exp(v) (Sola 2018, arXiv:1812.01537, eq. 145)."""
    angle = np.linalg.norm(rotvec, axis=-1)[:, None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6, (safe - np.sin(safe)) / safe**3)
    cross = _cross_matrices(rotvec)
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)


def _noise_per_point(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each landmark usually strays, px: skin that slides over bone gets less say."""
    spread = np.median(np.linalg.norm(residual, axis=-1), axis=0)
    # The median length of a two-dimensional normal vector is 1.18 standard deviations of one axis.
    least = max(0.5 * float(np.median(spread)) / 1.18, LEAST_NOISE_PX)
    return np.asarray(np.maximum(spread / 1.18, least))


def _step(
    problem: _Problem,
    theta: NDArray[np.float64],
    residual: NDArray[np.float64],
    jacobian: NDArray[np.float64],
    point_noise: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Solve one Gauss-Newton step for all frames together. Shape (frames, 6)."""
    frames = len(theta)
    scaled = np.linalg.norm(residual, axis=-1) / (OUTLIER_FACTOR * point_noise)
    weight = problem.has_face[:, None] / (1 + scaled**2) / point_noise**2 / LANDMARKS_PER_FACT
    normal = np.einsum("fkai,fk,fkaj->fij", jacobian, weight, jacobian)
    moment = np.einsum("fkai,fk,fka->fi", jacobian, weight, residual)
    # Upper banded storage: band[reach - (column - row), column].
    reach = 2 * PARAMETERS
    band = np.zeros((reach + 1, frames * PARAMETERS))
    for row in range(PARAMETERS):
        for column in range(row, PARAMETERS):
            band[reach - (column - row), column::PARAMETERS] = normal[:, row, column]
    pull = _add_smoothness(band.reshape(reach + 1, frames, PARAMETERS), theta)
    # A trace of damping: a frame without a face and without neighbours has nothing else to hold it.
    band[reach] += 1e-9 * band[reach].max() + 1e-12
    step = solveh_banded(band, (moment + pull).ravel())
    return np.asarray(step).reshape(frames, PARAMETERS)


def _add_smoothness(band: NDArray[np.float64], theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the temporal term to the matrix in place; return its right-hand side (frames, 6)."""
    frames = len(theta)
    pull = np.zeros_like(theta)
    if frames < 3:
        return pull
    bend = theta[:-2] - 2 * theta[1:-1] + theta[2:]
    scaled = bend / (MOTION_FACTOR * USUAL_ACCELERATION)
    # Rotation and translation each move as one: fast in one axis is fast in all of them.
    fast = np.concatenate(
        [
            np.repeat((part**2).max(axis=1, keepdims=True), 3, axis=1)
            for part in np.split(scaled, 2, 1)
        ],
        axis=1,
    )
    weight = 1 / USUAL_ACCELERATION**2 / (1 + fast)
    stencil = (1.0, -2.0, 1.0)
    for i, left in enumerate(stencil):
        pull[i : i + frames - 2] -= left * weight * bend
        for j in range(i, 3):
            row = 2 * PARAMETERS - PARAMETERS * (j - i)
            band[row, j : j + frames - 2] += left * stencil[j] * weight
    return pull
