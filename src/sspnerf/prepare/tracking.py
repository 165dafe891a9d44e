"""Head poses and the face at rest, from what was seen in each frame.

Symbols: X = a rest vertex in world space (head space, cm); (R, t) = world_to_camera of a frame in
OpenCV axes, so that R X + t is the vertex in camera space; u = its place in the picture, px. A
frame in which no face was found holds NaN until it is filled in, and stays marked in `valid`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from sspnerf.geometry.cameras import Intrinsics
from sspnerf.perception.landmarks import MESH_LANDMARKS
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.pose_refinement import PoseRefinement, refine_poses

Poses = NDArray[np.float64]

# Rounds of: triangulate the face at rest, then place the camera against it.
ROUNDS = 2
# The guessed face against the rays, per frame: these stray by 0.05 cm at the face, it by 2 cm.
# It must grow with the frames: the rays' noise pulls what does not turn towards the camera.
GUESS_WEIGHT = 6e-4
# First smoothing of MediaPipe's transforms, before anything is triangulated from them.
FIRST_KERNEL = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9

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


class FaceTrack(NamedTuple):
    """The face through the whole clip, lost frames filled in."""

    poses: Poses
    """camera_to_world, world = head space, cm. Shape (frames, 4, 4)."""
    landmarks: NDArray[np.float32]
    """x, y, z in px. Shape (frames, 478, 3)."""
    blendshapes: NDArray[np.float32]
    """Weights in [0, 1]. Shape (frames, 52)."""
    valid: NDArray[np.bool_]
    """False where the face was lost. Shape (frames,)."""
    rest: NDArray[np.float64]
    """The face at rest, cm. Shape (468, 3)."""
    reprojection_px: float
    """Root mean square distance of rigid landmarks from where their vertices appear, px."""


def track_face(
    observed: Observations, intrinsics: Intrinsics, *, cuts: tuple[int, ...] = ()
) -> FaceTrack:
    """Turn single observations into one consistent track.

    Args:
        observed: At least one frame shows a face.
        intrinsics: Of the picture in which the landmarks were seen.
        cuts: First frames after a cut: nothing is smooth or interpolated across them.

    Returns:
        The track; lost frames are interpolated and not valid.
    """
    valid = observed.valid
    landmarks = observed.landmarks.astype(np.float64)
    transforms = observed.head_transforms
    poses = smooth_poses(complete_poses(head_to_camera_pose(transforms), valid))
    refined = _alternate(landmarks, poses, valid, intrinsics)
    rest = _rest(landmarks, refined.poses, valid, intrinsics)
    blendshapes = observed.blendshapes.astype(np.float64)
    return FaceTrack(
        poses=refined.poses,
        landmarks=interpolate_lost(landmarks, valid).astype(np.float32),
        blendshapes=interpolate_lost(blendshapes, valid).astype(np.float32),
        valid=valid,
        rest=rest,
        reprojection_px=refined.reprojection_px,
    )


def _rest(
    landmarks: NDArray[np.float64], poses: Poses, valid: NDArray[np.bool_], intrinsics: Intrinsics
) -> NDArray[np.float64]:
    mesh = landmarks[valid, :MESH_LANDMARKS]
    guess = guess_rest(mesh, poses[valid], intrinsics)
    return triangulate_rest(mesh[..., :2], poses[valid], intrinsics, guess=guess)


def _alternate(
    landmarks: NDArray[np.float64], poses: Poses, valid: NDArray[np.bool_], intrinsics: Intrinsics
) -> PoseRefinement:
    """Triangulate and refine in turn; each round starts from better poses."""
    for _ in range(ROUNDS):
        rest = _rest(landmarks, poses, valid, intrinsics)
        refined = refine_poses(
            poses, rest[RIGID_LANDMARKS], landmarks[:, RIGID_LANDMARKS, :2], intrinsics
        )
        poses = refined.poses
    return refined


def head_to_camera_pose(head_transforms: NDArray[np.float64]) -> Poses:
    """Turn MediaPipe's head transforms into ours: the one place where conventions change.

    camera_to_world = inverse(diag(1, -1, -1, 1) @ head_transform): MediaPipe's camera is OpenGL's
    (+y up, +z backward), ours is OpenCV's (+y down, +z forward). World is head space in cm: +x to
    the picture's right, +y up, +z out of the face. The nearest rotation replaces the linear part,
    which carries MediaPipe's scale of the face.

    Args:
        head_transforms: Metric face to OpenGL camera, cm; NaN where lost. Shape (frames, 4, 4).

    Returns:
        camera_to_world, rigid, NaN where lost. Shape (frames, 4, 4).
    """
    world_to_camera = np.diag([1.0, -1.0, -1.0, 1.0]) @ head_transforms
    poses = np.full_like(world_to_camera, np.nan)
    seen = np.isfinite(world_to_camera).all(axis=(-1, -2))
    rotation = nearest_rotations(world_to_camera[seen, :3, :3]).swapaxes(-1, -2)
    poses[seen] = rigid(rotation, -(rotation @ world_to_camera[seen, :3, 3:])[..., 0])
    return poses


def nearest_rotations(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project matrices onto rotations (orthogonal Procrustes).

    Args:
        matrices: With positive determinants. Shape (..., 3, 3).

    Returns:
        Shape (..., 3, 3).
    """
    left, _, right = np.linalg.svd(matrices)
    return np.asarray(left @ right)


def rigid(rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> Poses:
    """Compose 4x4 transforms.

    Args:
        rotation: Shape (..., 3, 3).
        translation: Shape (..., 3).

    Returns:
        Shape (..., 4, 4).
    """
    transform = np.zeros((*rotation.shape[:-2], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1
    return transform


def invert_rigid(transforms: Poses) -> Poses:
    """Invert rigid transforms. Shape (..., 4, 4), both ways."""
    rotation = transforms[..., :3, :3].swapaxes(-1, -2)
    return rigid(rotation, -(rotation @ transforms[..., :3, 3:])[..., 0])


def interpolate_lost(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill lost frames linearly from their neighbours; the first and last hold beyond the ends.

    Args:
        values: Anything per frame. Shape (frames, ...).
        valid: Shape (frames,); at least one is True.

    Returns:
        No row depends on a lost one. Shape (frames, ...).
    """
    known = np.flatnonzero(valid)
    frames = np.arange(len(valid))
    after = np.clip(np.searchsorted(known, frames), 0, len(known) - 1)
    before = np.maximum(np.searchsorted(known, frames, side="right") - 1, 0)
    low, high = known[before], known[after]
    share = np.where(high > low, (frames - low) / np.maximum(high - low, 1), 0)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray((1 - share) * values[low] + share * values[high])


def complete_poses(poses: Poses, valid: NDArray[np.bool_]) -> Poses:
    """Fill lost frames: positions linearly, rotations linearly and projected back.

    Args:
        poses: camera_to_world, NaN where lost. Shape (frames, 4, 4).
        valid: Shape (frames,).

    Returns:
        Shape (frames, 4, 4).
    """
    filled = interpolate_lost(poses, valid)
    filled[:, :3, :3] = nearest_rotations(filled[:, :3, :3])
    return filled


def smooth_poses(poses: Poses, kernel: NDArray[np.float64] = FIRST_KERNEL) -> Poses:
    """Average poses over neighbouring frames, symmetrically in time: nothing lags.

    Args:
        poses: Shape (frames, 4, 4).
        kernel: Odd length, sums to 1.

    Returns:
        Rigid. Shape (frames, 4, 4).
    """
    averaged = convolve1d(poses, kernel, axis=0, mode="nearest")
    averaged[:, :3, :3] = nearest_rotations(averaged[:, :3, :3])
    return np.asarray(averaged)


def guess_rest(
    landmarks: NDArray[np.float64], poses: Poses, intrinsics: Intrinsics
) -> NDArray[np.float64]:
    """Guess the face at rest from the depth that single pictures suggest (right to about 0.5 cm).

    Args:
        landmarks: x, y in px, z in px-like units towards the back. Shape (frames, points, 3).
        poses: camera_to_world. Shape (frames, 4, 4).
        intrinsics: The camera.

    Returns:
        World positions, cm, averaged over the frames. Shape (points, 3).
    """
    distance = invert_rigid(poses)[:, 2, 3, None]
    depth = distance * (1 + landmarks[..., 2] / intrinsics.fx)
    in_camera = np.stack(
        (
            (landmarks[..., 0] - intrinsics.cx) / intrinsics.fx * depth,
            (landmarks[..., 1] - intrinsics.cy) / intrinsics.fy * depth,
            depth,
        ),
        axis=-1,
    )
    in_world = in_camera @ poses[:, :3, :3].swapaxes(-1, -2) + poses[:, None, :3, 3]
    return np.asarray(in_world.mean(axis=0))


def triangulate_rest(
    seen_px: NDArray[np.float64],
    poses: Poses,
    intrinsics: Intrinsics,
    *,
    guess: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Find the face at rest: each landmark's place in head space that fits all frames best.

    Linear least squares per point: (R_x - a R_z) X = a t_z - t_x with a = (u - cx) / fx, and the
    same for y. What moves (lips, brows) comes out at its mean. A head that does not turn says
    nothing about depth: there the guess decides.

    Args:
        seen_px: Landmarks in the picture. Shape (frames, points, 2).
        poses: camera_to_world. Shape (frames, 4, 4).
        intrinsics: The camera.
        guess: World positions, cm, from `guess_rest`, or None. Shape (points, 3).

    Returns:
        World positions, cm. Shape (points, 3).
    """
    to_camera = invert_rigid(poses)
    rotation, shift = to_camera[:, :3, :3], to_camera[:, :3, 3]
    slope = (seen_px - (intrinsics.cx, intrinsics.cy)) / (intrinsics.fx, intrinsics.fy)
    # Rows (frames, points, axis x or y, 3) and right-hand sides (frames, points, axis).
    rows = rotation[:, None, :2] - slope[..., None] * rotation[:, None, 2:]
    right = slope * shift[:, None, 2:] - shift[:, None, :2]
    normal = np.einsum("fpai,fpaj->pij", rows, rows)
    moment = np.einsum("fpai,fpa->pi", rows, right)
    if guess is not None:
        weight = GUESS_WEIGHT * len(poses)
        normal += weight * np.eye(3)
        moment += weight * guess
    return np.asarray(np.linalg.solve(normal, moment[..., None])[..., 0])
