"""What can be measured on a prepared clip: geometry, labels, sound. Pure functions of arrays.

Angles are in degrees here, since people read them. Motion is that of the head or torso in front of
the camera: +x to the picture's right, +y up, +z towards the camera.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.face_regions import CHIN, FOREHEAD
from sspnerf.prepare.poses import Poses, invert_rigid

# Frames that are held in float64 at once.
BLOCK = 1024
# Labels are counted in about so many rows and columns.
COUNTED_SIDE = 256
# Loudness is measured in blocks of so many seconds.
SOUND_BLOCK_S = 0.05
# Quieter than this is no sound at all, dB below full scale.
FLOOR_DB = -120.0
# A sample so near to full scale, so many times in a row, was cut off there.
FULL_SCALE, FLAT_SAMPLES = 0.985, 3
# OpenCV's camera axes to ours.
_UPRIGHT = np.diag([1.0, -1.0, -1.0])


class FaceBox(NamedTuple):
    """Size and place of the face in each frame."""

    height: NDArray[np.float64]
    """From the top of the forehead to the chin, px. Shape (frames,)."""
    outside: NDArray[np.float64]
    """How far the face sticks out of the picture, as a share of its height; negative: room that is
    left. Shape (frames,)."""


def face_boxes(landmarks: NDArray[np.floating], width: int, height: int) -> FaceBox:
    """Measure the face's size and whether it is in the picture.

    Args:
        landmarks: MediaPipe's, x and y in px first. Shape (frames, 478, 2 or more).
        width: Of the picture, px.
        height: Of the picture, px.
    """
    sizes, outside = np.zeros(len(landmarks)), np.zeros(len(landmarks))
    for block in _blocks(len(landmarks)):
        points = np.asarray(landmarks[block, :, :2], np.float64)
        size = np.linalg.norm(points[:, FOREHEAD] - points[:, CHIN], axis=-1)
        beyond = np.maximum(-points, points - (width, height)).max(axis=(1, 2))
        sizes[block], outside[block] = size, beyond / np.maximum(size, 1e-6)
    return FaceBox(sizes, outside)


def reprojection_error(
    landmarks: NDArray[np.floating],
    vertices: NDArray[np.floating],
    poses: Poses,
    *,
    chosen: Sequence[int] | NDArray[np.integer],
    intrinsics: Intrinsics,
) -> NDArray[np.float64]:
    """Measure how far landmarks lie from where the face at rest says they appear.

    Args:
        landmarks: x and y in px first. Shape (frames, points, 2 or more).
        vertices: The face at rest, cm. Shape (points or fewer, 3).
        poses: camera_to_world. Shape (frames, 4, 4).
        chosen: Landmarks on bone.
        intrinsics: The clip's camera.

    Returns:
        Root mean square over the landmarks, px. Shape (frames,).
    """
    places = np.asarray(chosen)
    bone = np.asarray(vertices, np.float64)[places]
    error = np.zeros(len(landmarks))
    for block in _blocks(len(landmarks)):
        to_camera = invert_rigid(np.asarray(poses[block], np.float64))
        seen = bone @ to_camera[:, :3, :3].swapaxes(1, 2) + to_camera[:, None, :3, 3]
        depth = np.maximum(seen[..., 2:], 1e-6)
        center = (intrinsics.cx, intrinsics.cy)
        there = seen[..., :2] / depth * (intrinsics.fx, intrinsics.fy) + center
        apart = there - np.asarray(landmarks[block], np.float64)[:, places, :2]
        error[block] = np.sqrt((apart**2).sum(axis=-1).mean(axis=-1))
    return error


def turn_angles(poses: Poses, *, against: Poses | None = None) -> NDArray[np.float64]:
    """Say how the head, or what else a pose belongs to, is turned.

    Args:
        poses: camera_to_world. Shape (frames, 4, 4).
        against: The pose in which it counts as not turned. Shape (4, 4). None: facing the camera.

    Returns:
        Yaw (positive: to the picture's right), pitch (positive: down) and roll (positive:
        counter-clockwise), degrees. Shape (frames, 3).
    """
    rotation = _UPRIGHT @ np.asarray(poses, np.float64)[:, :3, :3].swapaxes(1, 2)
    if against is not None:
        rotation = rotation @ (_UPRIGHT @ np.asarray(against, np.float64)[:3, :3].T).T
    return np.asarray(Rotation.from_matrix(rotation).as_euler("YXZ", degrees=True))


def turned_away(poses: Poses) -> NDArray[np.float64]:
    """Say by what angle the face looks past the camera.

    Args:
        poses: The head's, camera_to_world. Shape (frames, 4, 4).

    Returns:
        Angle between the face's direction and the optical axis, degrees, [0, 180]. Shape (frames,).
    """
    facing = -np.asarray(poses, np.float64)[:, 2, 2]
    return np.asarray(np.degrees(np.arccos(np.clip(facing, -1.0, 1.0))))


def places_in_camera(poses: Poses, point: NDArray[np.floating]) -> NDArray[np.float64]:
    """Say where a point that rests in world space is in front of the camera.

    Args:
        poses: camera_to_world. Shape (frames, 4, 4).
        point: World, cm. Shape (3,).

    Returns:
        cm to the right, up, and towards the camera. Shape (frames, 3).
    """
    to_camera = invert_rigid(np.asarray(poses, np.float64))
    return np.asarray((to_camera[:, :3, :3] @ point + to_camera[:, :3, 3]) @ _UPRIGHT)


def label_areas(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Say how much of a picture each class has.

    Args:
        labels: `SemanticClass` values. Shape (height, width).

    Returns:
        Shares that sum to 1. Shape (11,).
    """
    step = max(1, labels.shape[0] // COUNTED_SIDE)
    thin = np.ascontiguousarray(labels[::step, ::step])
    found = cv2.calcHist([thin], [0], None, [SEMANTIC_CLASSES], [0, SEMANTIC_CLASSES])
    return np.asarray(found, np.float64).reshape(-1) / thin.size


def loudness_db(waveform: NDArray[np.floating], sample_rate_hz: int) -> NDArray[np.float64]:
    """Measure loudness in blocks of `SOUND_BLOCK_S`.

    Args:
        waveform: Mono in [-1, 1]. Shape (samples,).
        sample_rate_hz: Of the waveform.

    Returns:
        dB, 0 for full scale, at least `FLOOR_DB`; a last part of a block counts as one.
        Shape (blocks,).
    """
    length = round(SOUND_BLOCK_S * sample_rate_hz)
    square = np.square(np.asarray(waveform, np.float64))
    starts = np.arange(0, len(square), length)
    if not len(starts):
        return np.zeros(0)
    counts = np.diff(np.append(starts, len(square)))
    power = np.add.reduceat(square, starts) / counts
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))))


def cut_off(waveform: NDArray[np.floating], sample_rate_hz: int) -> NDArray[np.bool_]:
    """Find where a sound was recorded too loud: its tops are flat.

    Args:
        waveform: Mono in [-1, 1]. Shape (samples,).
        sample_rate_hz: Of the waveform.

    Returns:
        True for blocks of `SOUND_BLOCK_S` with a flat top. Shape (blocks,).
    """
    length = round(SOUND_BLOCK_S * sample_rate_hz)
    blocks = -(-len(waveform) // length)
    full = np.abs(waveform) >= FULL_SCALE
    flat = full.copy()
    for step in range(1, FLAT_SAMPLES):
        flat[step:] &= full[:-step]
    flat[: FLAT_SAMPLES - 1] = False
    found = np.zeros(blocks, dtype=bool)
    found[np.flatnonzero(flat) // length] = True
    return found


def _blocks(frames: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, frames)) for first in range(0, frames, BLOCK)]
