"""Rigid transforms through time: MediaPipe's into ours, and how frames are filled in and averaged.

A pose is camera_to_world, shape (4, 4); world = head space, cm. Lost frames hold NaN until they are
filled in.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

Poses = NDArray[np.float64]

# First smoothing of MediaPipe's transforms, before anything is triangulated from them.
FIRST_KERNEL = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9
# How far a turn moves the surface of a head, cm per radian.
HEAD_RADIUS_CM = 9.0


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
        matrices: Any. Shape (..., 3, 3).

    Returns:
        Determinants 1, also where the matrix mirrors. Shape (..., 3, 3).
    """
    left, _, right = np.linalg.svd(matrices)
    # A mean of opposite rotations may mirror; the weakest axis is turned round.
    left[..., :, 2] *= np.linalg.det(left @ right)[..., None]
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


def pieces_between(cuts: tuple[int, ...], frames: int) -> list[slice]:
    """Cut a clip's frames into pieces.

    Args:
        cuts: First frames after a cut, increasing.
        frames: Length of the clip.

    Returns:
        One slice per piece, in order; together they are all frames.

    Example:
        >>> pieces_between((2,), 5)
        [slice(0, 2, None), slice(2, 5, None)]
    """
    edges = [0, *[cut for cut in cuts if 0 < cut < frames], frames]
    return [slice(first, last) for first, last in pairwise(edges)]


def nearest_known(known: NDArray[np.int64], piece: slice) -> NDArray[np.int64]:
    """Return the frame nearest to the middle of a piece, the earlier of two. Shape (1,)."""
    middle = (piece.start + piece.stop - 1) / 2
    return known[[np.abs(known - middle).argmin()]]


def fill_lost(
    values: NDArray[np.floating], valid: NDArray[np.bool_], *, cuts: tuple[int, ...] = ()
) -> None:
    """Fill lost frames in place, linearly from their neighbours in the same piece.

    Before the first and after the last valid frame of a piece its value holds; a piece without any
    takes that of the nearest valid frame of the clip. Only lost rows are touched.

    Args:
        values: Anything per frame; may be a memory map. Shape (frames, ...).
        valid: Shape (frames,); at least one is True.
        cuts: First frames after a cut: nothing is interpolated across them.
    """
    known_anywhere = np.flatnonzero(valid)
    for piece in pieces_between(cuts, len(valid)):
        known = known_anywhere[(known_anywhere >= piece.start) & (known_anywhere < piece.stop)]
        lost = piece.start + np.flatnonzero(~valid[piece])
        if not len(known):
            known = nearest_known(known_anywhere, piece)
        for frame in lost:
            after = min(int(np.searchsorted(known, frame)), len(known) - 1)
            before = max(int(np.searchsorted(known, frame, side="right")) - 1, 0)
            low, high = int(known[before]), int(known[after])
            share = (frame - low) / (high - low) if high > low else 0.0
            values[frame] = (1 - share) * values[low] + share * values[high]


def interpolate_lost(
    values: NDArray[np.float64], valid: NDArray[np.bool_], *, cuts: tuple[int, ...] = ()
) -> NDArray[np.float64]:
    """Return a copy in which lost frames are filled in as `fill_lost` does.

    Args:
        values: Anything per frame. Shape (frames, ...).
        valid: Shape (frames,); at least one is True.
        cuts: First frames after a cut.

    Returns:
        No row depends on a lost one. Shape (frames, ...).
    """
    filled = np.array(values)
    fill_lost(filled, valid, cuts=cuts)
    return filled


def complete_poses(poses: Poses, valid: NDArray[np.bool_], *, cuts: tuple[int, ...] = ()) -> Poses:
    """Fill lost frames: positions linearly, rotations linearly and projected back.

    Args:
        poses: camera_to_world, NaN where lost. Shape (frames, 4, 4).
        valid: Shape (frames,).
        cuts: First frames after a cut.

    Returns:
        Shape (frames, 4, 4).
    """
    filled = interpolate_lost(poses, valid, cuts=cuts)
    filled[~valid, :3, :3] = nearest_rotations(filled[~valid, :3, :3])
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


def most_usual_frame(poses: Poses, valid: NDArray[np.bool_], *, cuts: tuple[int, ...] = ()) -> int:
    """Find the frame in which the head is nearest to where and how it mostly is.

    A torso that is aligned to this frame is seldom far from it. With cuts, the frame lies in the
    piece with the most valid frames.

    Args:
        poses: camera_to_world. Shape (frames, 4, 4).
        valid: At least one is True. Shape (frames,).
        cuts: First frames after a cut.

    Returns:
        Index of a valid frame.
    """
    pieces = pieces_between(cuts, len(poses))
    piece = max(pieces, key=lambda each: int(valid[each].sum()))
    among = np.flatnonzero(valid[piece]) + piece.start
    to_camera = invert_rigid(poses[among])
    usual = nearest_rotations(to_camera[:, :3, :3].mean(axis=0))
    # trace(A^T B) = 1 + 2 cos(angle between them)
    cosine = (np.einsum("fij,ij->f", to_camera[:, :3, :3], usual) - 1) / 2
    turned = np.arccos(np.clip(cosine, -1, 1))
    moved = np.linalg.norm(to_camera[:, :3, 3] - np.median(to_camera[:, :3, 3], axis=0), axis=1)
    return int(among[np.argmin(moved + HEAD_RADIUS_CM * turned)])
