"""Poses that fit the landmarks of all frames at once and move as heads do.

Minimises over all frames i and rigid landmarks k, in one banded least-squares problem,

    sum_ik w_ik |u_ik - project(R_i X_k + t_i)|^2 / s^2  +  sum_i |theta''_i / a|^2

with theta = (rotation vector from the mean rotation, place of the landmarks' centroid in camera
space) and theta'' its second difference in time, per s^2. Robust weights w and the scale a decide
what is noise. There is no past and future in it: nothing lags, and no second difference reaches
across a cut. Turning about the centroid, not about the middle of the head, keeps errors of rotation
out of the place in the picture, which is known best.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.poses import Poses, nearest_known, pieces_between

ITERATIONS = 8
# Steps smaller than this, in radians and cm, change nothing that can be seen.
CONVERGED = 1e-4
LEAST_NOISE_PX = 0.01
# Error of one landmark, as a share of the picture's height (1.2 px of 512).
LANDMARK_NOISE = 1.2 / 512
# Landmarks err together (the network sees one face, not 100 points): so many tell as much as one.
LANDMARKS_PER_FACT = 4.0
# Beyond so many times its noise a landmark loses its say (Cauchy).
OUTLIER_FACTOR = 2.0
# Accelerations that are usual: rotation in radians/s^2, sideways and depth in cm/s^2. Sideways is
# held back least: the picture shows it to a tenth of a pixel, and the field needs it that well.
USUAL_ACCELERATION = np.array([1.1, 1.1, 1.1, 12.0, 12.0, 15.0])
# Accelerations beyond so many times the usual are motion, not noise.
MOTION_FACTOR = np.array([1.5, 1.5, 1.5, 2.0, 2.0, 3.0])
# What is fast in one of these axes is fast in all of them.
MOVE_TOGETHER = ((0, 1, 2), (3, 4), (5,))
# Whether a head moves is judged over this time, s (standard deviation). Judged frame by frame,
# heads would turn in single frames and go straight in between.
MOTION_SPREAD_S = 0.08
PARAMETERS = 6
# Frames whose residuals are held at once.
BLOCK = 256


class PoseRefinement(NamedTuple):
    """Refined poses and how well they fit."""

    poses: Poses
    """camera_to_world. Shape (frames, 4, 4)."""
    reprojection_px: float
    """Root mean square distance of the landmarks from where they should appear, px."""
    frame_error_px: NDArray[np.float64]
    """Median distance of a frame's landmarks from where they should appear, px; NaN where the face
    was lost. Shape (frames,)."""


class _Problem(NamedTuple):
    rest: NDArray[np.float64]
    """Rigid landmarks around their centroid, in the mean camera's axes. Shape (points, 3)."""
    seen_px: NDArray[np.floating]
    """Shape (frames, points, 2); anything where lost."""
    has_face: NDArray[np.bool_]
    intrinsics: Intrinsics


class _Normal(NamedTuple):
    """The landmarks' part of the normal equations."""

    matrix: NDArray[np.float64]
    """Shape (frames, 6, 6)."""
    moment: NDArray[np.float64]
    """Shape (frames, 6)."""
    distance_px: NDArray[np.float32]
    """How far each landmark is from where it should appear. Shape (frames, points)."""


def refine_poses(
    poses: Poses,
    rest: NDArray[np.float64],
    seen_px: NDArray[np.floating],
    intrinsics: Intrinsics,
    *,
    frame_rate_hz: float = 25.0,
    cuts: tuple[int, ...] = (),
) -> PoseRefinement:
    """Fit all poses to the rigid landmarks, smoothly in time.

    Args:
        poses: First guess, camera_to_world, every frame filled in. Shape (frames, 4, 4).
        rest: Rigid landmarks of the face at rest, cm. Shape (points, 3).
        seen_px: The same landmarks in the pictures; NaN where the face was lost; at least one
            frame has a face. Shape (frames, points, 2).
        intrinsics: The camera.
        frame_rate_hz: How fast frames follow each other.
        cuts: First frames after a cut; what is before says nothing about what is after.

    Returns:
        Poses that follow the landmarks; lost frames follow from their neighbours, before the
        first and after the last face of a piece the pose holds, and a piece without any face has
        the pose of the nearest.
    """
    to_camera = Rotation.from_matrix(poses[:, :3, :3]).inv()
    has_face = np.asarray(np.isfinite(seen_px).all(axis=(1, 2)))
    mean, centroid = to_camera[has_face].mean(), rest.mean(axis=0)
    place = to_camera.apply(centroid - poses[:, :3, 3])
    theta = np.concatenate(((to_camera * mean.inv()).as_rotvec(), place), axis=1)
    problem = _Problem(mean.apply(rest - centroid), seen_px, has_face, intrinsics)
    point_noise = np.full(len(rest), LANDMARK_NOISE * intrinsics.height)
    bends = _bends(len(theta), cuts)
    for iteration in range(ITERATIONS):
        normal = _linearise(problem, theta, point_noise)
        if iteration == ITERATIONS // 2:
            point_noise = _noise_per_point(normal.distance_px[has_face])
        step = _step(normal, theta, bends, frame_rate_hz)
        theta = theta + step
    distance = _linearise(problem, theta, point_noise).distance_px.astype(np.float64)
    frame_error = np.full(len(theta), np.nan)
    frame_error[has_face] = np.median(distance[has_face], axis=1)
    refined = _compose(theta, mean, centroid)
    _hold_ends(refined, has_face, cuts)
    error = np.sqrt((distance[has_face] ** 2).mean())
    return PoseRefinement(refined, float(error), frame_error)


def _compose(theta: NDArray[np.float64], mean: Rotation, centroid: NDArray[np.float64]) -> Poses:
    rotation = (Rotation.from_rotvec(theta[:, :3]) * mean).inv()
    poses = np.tile(np.eye(4), (len(theta), 1, 1))
    poses[:, :3, :3] = rotation.as_matrix()
    poses[:, :3, 3] = centroid - rotation.apply(theta[:, 3:])
    return poses


def _hold_ends(refined: Poses, has_face: NDArray[np.bool_], cuts: tuple[int, ...]) -> None:
    """Hold poses beyond faces in place: the temporal term alone would let the head fly on."""
    known = np.flatnonzero(has_face)
    for piece in pieces_between(cuts, len(refined)):
        seen = known[(known >= piece.start) & (known < piece.stop)]
        seen = seen if len(seen) else nearest_known(known, piece)
        first, last = max(seen[0], piece.start), min(seen[-1] + 1, piece.stop)
        refined[piece.start : min(first, piece.stop)] = refined[seen[0]]
        refined[max(last, piece.start) : piece.stop] = refined[seen[-1]]


def _bends(frames: int, cuts: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether frames i, i + 1 and i + 2 are of one piece. Shape (max(frames - 2, 0),)."""
    piece = np.zeros(frames, np.int64)
    piece[[cut for cut in cuts if 0 < cut < frames]] = 1
    piece = np.cumsum(piece)
    return np.asarray(piece[2:] == piece[:-2])


def _linearise(
    problem: _Problem, theta: NDArray[np.float64], point_noise: NDArray[np.float64]
) -> _Normal:
    """Sum over landmarks what each frame's say about its theta, block by block."""
    frames, points = len(theta), len(problem.rest)
    matrix = np.zeros((frames, PARAMETERS, PARAMETERS))
    moment = np.zeros((frames, PARAMETERS))
    distance = np.zeros((frames, points), np.float32)
    for first in range(0, frames, BLOCK):
        seen = first + np.flatnonzero(problem.has_face[first : first + BLOCK])
        residual, jacobian = _residuals(problem, theta[seen], seen)
        length = np.sqrt((residual**2).sum(axis=1))
        scaled = length / (OUTLIER_FACTOR * point_noise)
        scale = 1 / np.sqrt((1 + scaled**2) * LANDMARKS_PER_FACT) / point_noise
        jacobian *= scale[:, None, None]
        residual *= scale[:, None]
        rows = jacobian.reshape(len(seen), PARAMETERS, 2 * points)
        # From turning in camera axes to changing the rotation vector.
        chart = np.tile(np.eye(PARAMETERS), (len(seen), 1, 1))
        chart[:, :3, :3] = _left_jacobians(theta[seen, :3])
        back = chart.swapaxes(1, 2)
        matrix[seen] = back @ (rows @ rows.swapaxes(1, 2)) @ chart
        moment[seen] = (back @ (rows @ residual.reshape(len(seen), 2 * points, 1)))[..., 0]
        distance[seen] = length
    return _Normal(matrix, moment, distance)


def _residuals(
    problem: _Problem, theta: NDArray[np.float64], frames: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residuals (frames, 2, points), derivatives by turn and place (frames, 6, 2, points)."""
    camera = problem.intrinsics
    rotation = Rotation.from_rotvec(theta[:, :3]).as_matrix()
    turned = rotation @ problem.rest.T
    x, y, z = (turned + theta[:, 3:, None]).swapaxes(0, 1)
    by_x, by_y = camera.fx / z, camera.fy / z
    across, down = x * by_x, y * by_y
    seen = problem.seen_px[frames].astype(np.float64).swapaxes(1, 2)
    residual = np.stack((seen[:, 0] - camera.cx - across, seen[:, 1] - camera.cy - down), axis=1)
    # by_place is d u / d place; turning by w moves a point by w x v, so d u / d w = v x by_place.
    x_by_z, y_by_z = -across / z, -down / z
    vx, vy, vz = turned.swapaxes(0, 1)
    jacobian = np.zeros((len(frames), PARAMETERS, 2, len(problem.rest)))
    jacobian[:, 0, 0] = vy * x_by_z
    jacobian[:, 1, 0] = vz * by_x - vx * x_by_z
    jacobian[:, 2, 0] = -vy * by_x
    jacobian[:, 0, 1] = vy * y_by_z - vz * by_y
    jacobian[:, 1, 1] = -vx * y_by_z
    jacobian[:, 2, 1] = vx * by_y
    jacobian[:, 3, 0] = by_x
    jacobian[:, 4, 1] = by_y
    jacobian[:, 5, 0] = x_by_z
    jacobian[:, 5, 1] = y_by_z
    return residual, jacobian


def _left_jacobians(rotvec: NDArray[np.float64]) -> NDArray[np.float64]:
    """J of d exp(v) = [J dv]x exp(v) (Sola 2018, arXiv:1812.01537, eq. 145)."""
    angle = np.linalg.norm(rotvec, axis=-1)[:, None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6, (safe - np.sin(safe)) / safe**3)
    x, y, z = rotvec.T
    zero = np.zeros_like(x)
    rows = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    cross = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)


def _noise_per_point(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    """How far each landmark usually strays, px: skin that slides over bone gets less say."""
    spread = np.median(distance, axis=0)
    # The median length of a two-dimensional normal vector is 1.18 standard deviations of one axis.
    least = max(0.5 * float(np.median(spread)) / 1.18, LEAST_NOISE_PX)
    return np.asarray(np.maximum(spread / 1.18, least), np.float64)


def _step(
    normal: _Normal,
    theta: NDArray[np.float64],
    bends: NDArray[np.bool_],
    frame_rate_hz: float,
) -> NDArray[np.float64]:
    """Solve one Gauss-Newton step for all frames together. Shape (frames, 6)."""
    frames = len(theta)
    # Upper banded storage: band[reach - (column - row), column].
    reach = 2 * PARAMETERS
    band = np.zeros((reach + 1, frames * PARAMETERS))
    for row in range(PARAMETERS):
        for column in range(row, PARAMETERS):
            band[reach - (column - row), column::PARAMETERS] = normal.matrix[:, row, column]
    pull = _add_smoothness(band.reshape(reach + 1, frames, PARAMETERS), theta, bends, frame_rate_hz)
    # A trace of damping: a frame without a face and without neighbours has nothing else to hold it.
    band[reach] += 1e-9 * band[reach].max() + 1e-12
    step = solveh_banded(band, (normal.moment + pull).ravel())
    return np.asarray(step).reshape(frames, PARAMETERS)


def _add_smoothness(
    band: NDArray[np.float64],
    theta: NDArray[np.float64],
    bends: NDArray[np.bool_],
    frame_rate_hz: float,
) -> NDArray[np.float64]:
    """Add the temporal term to the matrix in place; return its right-hand side (frames, 6)."""
    frames = len(theta)
    pull = np.zeros_like(theta)
    if frames < 3:
        return pull
    usual = USUAL_ACCELERATION / frame_rate_hz**2
    bend = theta[:-2] - 2 * theta[1:-1] + theta[2:]
    scaled = (bend / (MOTION_FACTOR * usual)) ** 2
    together = np.stack([scaled[:, axes].sum(axis=1) for axes in MOVE_TOGETHER], axis=1)
    fast = gaussian_filter1d(together, MOTION_SPREAD_S * frame_rate_hz, axis=0)
    fast = np.repeat(fast, [len(axes) for axes in MOVE_TOGETHER], axis=1)
    weight = bends[:, None] / usual**2 / (1 + fast)
    stencil = (1.0, -2.0, 1.0)
    for i, left in enumerate(stencil):
        pull[i : i + frames - 2] -= left * weight * bend
        for j in range(i, 3):
            row = 2 * PARAMETERS - PARAMETERS * (j - i)
            band[row, j : j + frames - 2] += left * stencil[j] * weight
    return pull
