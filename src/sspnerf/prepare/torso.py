"""The torso's own pose in each frame, by aligning its picture to a reference frame.

Symbols: W = the Euclidean motion of the picture that takes a torso pixel of the reference frame to
where the same point of the torso appears in frame i: u_i = A u_ref + shift. What MediaPipe says
about the torso is too coarse for this; the cloth itself is not.

torso_pose is camera_to_world as the torso sees it: where the camera would stand if the torso were
held still. So a torso point at pixel u of frame i is the one at W^-1(u) of the reference frame.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from scipy.spatial.transform import Rotation

from sspnerf.geometry.cameras import Intrinsics
from sspnerf.prepare.masks import fit
from sspnerf.prepare.tracking import Poses, interpolate_lost, rigid, smooth_poses

# Alignment happens at this size, whatever the clip's: it finds a tenth of a pixel there, and fails
# in small pictures.
ALIGN_SIDE = 256
ALIGN_STEPS = 40
ALIGN_EPSILON = 1e-5
# Alignments that correlate worse are not believed, nor those that jump further from the last
# believed one: in shares of the side and radians, per frame in between (up to a few frames).
LEAST_CORRELATION = 0.7
MOST_SHIFT, MOST_TURN, MOST_FRAMES = 0.03, 0.04, 4
# A torso that covers less of the picture cannot be aligned.
LEAST_AREA = 0.01
# Frames that must align, as a share; else what was found is not the torso's motion.
LEAST_ALIGNED = 0.5
# Gentle and symmetric in time: removes the alignment's jitter, does not lag.
SMOOTHING_KERNEL = np.array([1.0, 2.0, 1.0]) / 4
# Share of the head's motion that a torso follows which cannot be seen.
UNSEEN_FOLLOWS = 0.5
# How far the torso lies behind the chin, cm (a chest, not a measurement).
BEHIND_CHIN_CM = 4.0


class TorsoMotion(NamedTuple):
    """Motion of the torso in the picture, relative to the reference frame."""

    angle: NDArray[np.float64]
    """From x towards y (clockwise to the eye), radians. Shape (frames,)."""
    shift: NDArray[np.float64]
    """Of the point `center`, px. Shape (frames, 2)."""
    center: NDArray[np.float64]
    """Middle of the torso in the reference frame, px. Shape (2,)."""
    correlation: NDArray[np.float64]
    """Of each frame with the reference, 0 where alignment is not believed. Shape (frames,)."""


def align_torso(
    frames: NDArray[np.uint8],
    region: NDArray[np.bool_],
    reference: int,
    *,
    on_frame: Callable[[], None] | None = None,
) -> TorsoMotion | None:
    """Align the torso of every frame to the reference frame.

    Starts at the reference and goes outwards, each frame from where its neighbour was found.

    Args:
        frames: RGB, square, read one at a time. Shape (frames, side, side, 3).
        region: Where every frame shows torso. Shape (side, side).
        reference: Index of the reference frame.
        on_frame: Called after each frame.

    Returns:
        The motion, smoothed, gaps interpolated; None if the region is too small, or if most frames
        do not align.
    """
    side = frames.shape[1]
    work = ALIGN_SIDE
    small = fit(region.astype(np.uint8), work)
    if region.mean() < LEAST_AREA:
        return None
    window = _bounding_window(small > 0)
    region_mask = np.ascontiguousarray(small[window])

    def look(index: int) -> NDArray[np.float32]:
        return _gray(frames[index], work, window)

    warps, correlation = _follow(look, len(frames), reference, region_mask, on_frame=on_frame)
    # A window's pixel centres start at (0, 0) for OpenCV and at `corner` for us.
    corner = np.array([window[1].start, window[0].start]) + 0.5
    rows, columns = np.nonzero(region_mask)
    center = np.array([columns.mean(), rows.mean()])
    moved = warps[:, :, :2] @ center + warps[:, :, 2]
    scale = side / work
    believed = correlation > 0
    believed[reference] = True
    if believed.mean() < LEAST_ALIGNED:
        return None
    return _steady(
        TorsoMotion(
            angle=interpolate_lost(np.arctan2(warps[:, 1, 0], warps[:, 0, 0]), believed),
            shift=interpolate_lost((moved - center) * scale, believed),
            center=(center + corner) * scale,
            correlation=correlation,
        ),
        reference,
    )


def _follow(
    look: Callable[[int], NDArray[np.float32]],
    frames: int,
    reference: int,
    region: NDArray[np.uint8],
    *,
    on_frame: Callable[[], None] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Align all frames, from the reference outwards; (frames, 2, 3) warps and correlations."""
    warps = np.tile(np.eye(2, 3), (frames, 1, 1))
    correlation = np.zeros(frames)
    template = look(reference)
    for order in (range(reference, frames), range(reference - 1, -1, -1)):
        warp, missed = np.eye(2, 3, dtype=np.float32), 0
        for index in order:
            found, candidate = _align(template, look(index), warp, region)
            missed += 1
            if found >= LEAST_CORRELATION and _is_near(warp, candidate, region, missed):
                correlation[index], warp, missed = found, candidate, 0
            warps[index] = warp
            if on_frame:
                on_frame()
    return warps, correlation


def _bounding_window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = mask.shape[0] // 20
    return (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )


def _gray(
    picture: NDArray[np.uint8], side: int, window: tuple[slice, slice]
) -> NDArray[np.float32]:
    gray = cv2.cvtColor(fit(np.asarray(picture), side)[window], cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), 1.0), dtype=np.float32)


def _align(
    template: NDArray[np.float32],
    picture: NDArray[np.float32],
    warp: NDArray[np.float32],
    region: NDArray[np.uint8],
) -> tuple[float, NDArray[np.float32]]:
    """One alignment; on failure correlation 0 and the warp it started from."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ALIGN_STEPS, ALIGN_EPSILON)
    try:
        correlation, found = cv2.findTransformECC(
            template, picture, warp.copy(), cv2.MOTION_EUCLIDEAN, stop, region, 1
        )
    except cv2.error:
        # It raises where the iteration diverges; a flat or a covered torso is no reason to stop.
        return 0.0, warp
    return float(correlation), np.asarray(found, dtype=np.float32)


def _is_near(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    region: NDArray[np.uint8],
    frames: int,
) -> bool:
    """Whether a torso may move from one warp to the other in so many frames."""
    steps = min(frames, MOST_FRAMES)
    rows, columns = np.nonzero(region)
    change = (after - before) @ np.array([columns.mean(), rows.mean(), 1.0])
    turn = abs(float(after[1, 0] - before[1, 0]))
    # A window is as wide as the torso, which is about as wide as the picture.
    return bool(
        np.linalg.norm(change) < steps * MOST_SHIFT * max(region.shape) and turn < steps * MOST_TURN
    )


def _steady(motion: TorsoMotion, reference: int) -> TorsoMotion:
    """Smooth the motion and let it be nothing in the reference frame."""
    angle = convolve1d(motion.angle, SMOOTHING_KERNEL, axis=0, mode="nearest")
    shift = convolve1d(motion.shift, SMOOTHING_KERNEL, axis=0, mode="nearest")
    return motion._replace(angle=angle - angle[reference], shift=shift - shift[reference])


def torso_poses(
    motion: TorsoMotion,
    reference_pose: NDArray[np.float64],
    *,
    depth: float,
    intrinsics: Intrinsics,
) -> Poses:
    """Turn motion in the picture into rigid motion of the camera around a torso that is held still.

    A turn about the optical axis and a shift in the plane at the torso's depth: G_i takes camera
    space of frame i to camera space of the reference frame, and torso_pose = reference_pose @ G_i.

    Args:
        motion: In the picture of `intrinsics`.
        reference_pose: camera_to_world of the reference frame. Shape (4, 4).
        depth: Of the torso in front of the camera, cm.
        intrinsics: The camera, with square pixels.

    Returns:
        Equal to `reference_pose` in the reference frame. Shape (frames, 4, 4).
    """
    principal = np.array([intrinsics.cx, intrinsics.cy])
    turn = Rotation.from_rotvec(-motion.angle[:, None] * np.array([0.0, 0.0, 1.0])).as_matrix()
    # W: u_i - (center + shift) = A (u_ref - center); solved for u_ref, then u = principal + f p /
    # z.
    moved = turn[:, :2, :2] @ (principal - motion.center - motion.shift)[..., None]
    offset_px = moved[..., 0] + motion.center - principal
    translation = np.zeros((len(offset_px), 3))
    translation[:, :2] = offset_px * depth / np.array([intrinsics.fx, intrinsics.fy])
    return np.asarray(reference_pose @ rigid(turn, translation))


def unseen_torso_poses(poses: Poses, reference: int) -> Poses:
    """Guess the poses of a torso that the picture does not show: it follows the head by half.

    Args:
        poses: The head's, camera_to_world. Shape (frames, 4, 4).
        reference: Index of the reference frame.

    Returns:
        Equal to the head's pose in the reference frame. Shape (frames, 4, 4).
    """
    steady = smooth_poses(poses, np.ones(9) / 9)
    anchor = Rotation.from_matrix(poses[reference, :3, :3])
    turn = Rotation.from_matrix(steady[:, :3, :3]) * anchor.inv()
    turn = turn[reference].inv() * turn
    rotation = Rotation.from_rotvec(UNSEEN_FOLLOWS * turn.as_rotvec()) * anchor
    way = steady[:, :3, 3] - steady[reference, :3, 3]
    return rigid(rotation.as_matrix(), poses[reference, :3, 3] + UNSEEN_FOLLOWS * way)


def reliable_region(
    torso_maps: Iterable[NDArray[np.bool_]], *, lowest_chin: float
) -> NDArray[np.bool_]:
    """Find where (nearly) all frames show torso.

    Args:
        torso_maps: Where single frames show it. Each of shape (height, width).
        lowest_chin: Nothing above this is believed, px from the top.

    Returns:
        Shape (height, width).
    """
    share = np.mean([torso.astype(np.float32) for torso in torso_maps], axis=0)
    region = np.asarray(share >= 0.9)
    region[: max(0, int(np.ceil(lowest_chin)))] = False
    return region
