"""How long the lens was, if the face tells: which focal length lets one rigid face fit best.

Seen from far away a turning face changes its picture in one way, from near in another: the nose
grows. The difference is small. With a wrong focal length the face and its poses, fitted anew, take
up most of it; what is left over is the evidence. Where it is not enough the focal length stays as
it was assumed, and everything is a little too deep or too flat, which does not show from where the
camera stands.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.head_fit import Take, first_poses
from sspnerf.prepare.pose_refinement import refine_poses
from sspnerf.prepare.poses import Poses, invert_rigid
from sspnerf.prepare.rest_face import RIGID_LANDMARKS, find_rest

# Frames that are asked, spread over the clip, and the fewest for which it is worth it.
MOST_FRAMES = 120
LEAST_FRAMES = 40
# Focal lengths that are tried first, as multiples of the assumed one: 78 to 12 degrees for 63.
FIRST_FACTORS = (0.75, 1.0, 1.6, 2.8, 5.6)
# Rounds of: triangulate the face, then refine the poses.
ROUNDS = 3
# Steps of narrowing in; each fits a parabola over the logarithm of the focal length.
REFINEMENTS = 3
# The squared reprojection error must drop by this share. Five clips shot through very different
# lenses prefer much the same 40 to 70 degrees, by 0.03 at most: that is MediaPipe's habit.
LEAST_EVIDENCE = 0.06
# With a focal length longer by this factor the error must rise again, by this share: else the face
# only says that the camera is far away.
STEEP_FACTOR = 1.6
LEAST_RISE = 0.01
# The two halves of the frames must agree to this factor.
WORST_DISAGREEMENT = 1.25


class FocalLength(NamedTuple):
    """The camera, and how sure it is."""

    intrinsics: Intrinsics
    """As assumed, or with the focal length that was found."""
    evidence: float
    """Share by which the best focal length lowers the squared reprojection error; 0 if the assumed
    one is best or the frames are too few."""
    is_estimated: bool
    """Whether the evidence was enough: the focal length is the best one, not the assumed one."""


class _Views(NamedTuple):
    """Some frames, each with a face."""

    landmarks: NDArray[np.float32]
    """Of rigid landmarks, x, y, z in px. Shape (frames, points, 3)."""
    poses: Poses
    """Rough, for the assumed camera. Shape (frames, 4, 4)."""
    assumed: Intrinsics

    def every_second(self, first: int) -> "_Views":
        """Return half of the frames."""
        return self._replace(landmarks=self.landmarks[first::2], poses=self.poses[first::2])


def estimate_focal_length(take: Take, raw: Poses) -> FocalLength:
    """Look for the focal length with which one rigid face fits all frames best.

    Args:
        take: Its intrinsics are the assumed ones; their principal point and pixels are kept.
        raw: Poses to start from, every frame filled in. Shape (frames, 4, 4).

    Returns:
        The focal length that was found if the evidence is enough, else the assumed one.
    """
    known = np.flatnonzero(take.valid)
    unknown = FocalLength(take.intrinsics, 0.0, is_estimated=False)
    if len(known) < LEAST_FRAMES:
        return unknown
    views = _views(take, raw, known)
    factor, evidence = _best_factor(views)
    if evidence < LEAST_EVIDENCE:
        return unknown._replace(evidence=evidence)
    if _squared_error(views, factor * STEEP_FACTOR) < (1 + LEAST_RISE) * _squared_error(
        views, factor
    ):
        return unknown._replace(evidence=evidence)
    halves = [_best_factor(views.every_second(first))[0] for first in range(2)]
    if max(halves) > WORST_DISAGREEMENT * min(halves):
        return unknown._replace(evidence=evidence)
    return FocalLength(longer(take.intrinsics, factor), evidence, is_estimated=True)


def longer(intrinsics: Intrinsics, factor: float) -> Intrinsics:
    """Return a camera of another focal length.

    Example:
        >>> longer(Intrinsics.from_field_of_view(100, 100, degrees=90.0), 2.0).fy
        100.0
    """
    return replace(intrinsics, fx=intrinsics.fx * factor, fy=intrinsics.fy * factor)


def move_away(poses: Poses, factor: float) -> Poses:
    """Move a camera away from the head by the factor by which its focal length grew.

    The head keeps its place and its size in the picture.

    Args:
        poses: camera_to_world. Shape (frames, 4, 4).
        factor: New focal length / old focal length.

    Returns:
        Shape (frames, 4, 4).
    """
    to_camera = invert_rigid(poses)
    to_camera[:, 2, 3] *= factor
    return invert_rigid(to_camera)


def _views(take: Take, raw: Poses, known: NDArray[np.int64]) -> _Views:
    poses = first_poses(take, raw, take.rigid_px())
    some = known[np.linspace(0, len(known) - 1, min(len(known), MOST_FRAMES)).astype(np.int64)]
    landmarks = np.stack([take.landmarks[frame][RIGID_LANDMARKS] for frame in take.frames[some]])
    return _Views(landmarks, poses[some], take.intrinsics)


def _best_factor(views: _Views) -> tuple[float, float]:
    """Find the best multiple of the assumed focal length, and the share of the error it saves."""
    tried: dict[float, float] = {}
    for factor in FIRST_FACTORS:
        tried[factor] = _squared_error(views, factor)
    # Narrowing in is not worth it where the first look has hardly found anything.
    if 1 - min(tried.values()) / tried[1.0] > LEAST_EVIDENCE / 2:
        for _ in range(REFINEMENTS):
            factor = _lowest(tried)
            tried[factor] = _squared_error(views, factor)
    best = min(tried, key=lambda factor: tried[factor])
    return best, 1 - tried[best] / tried[1.0]


def _lowest(tried: dict[float, float]) -> float:
    """Where the parabola through the best factor and its neighbours is lowest."""
    factors = sorted(tried)
    middle = min(max(int(np.argmin([tried[factor] for factor in factors])), 1), len(factors) - 2)
    three = factors[middle - 1 : middle + 2]
    places = np.log(three)
    bend, slope, _ = np.polyfit(places - places[1], [tried[factor] for factor in three], 2)
    step = -slope / (2 * bend) if bend > 0 else places[0] - places[2]
    found = float(np.exp(places[1] + np.clip(step, *(places[[0, 2]] - places[1]))))
    # Twice the same place would say nothing new.
    near = min(factors, key=lambda factor: abs(np.log(factor / found)))
    return found * 1.05 if abs(np.log(near / found)) < 0.01 else found


def _squared_error(views: _Views, factor: float) -> float:
    """Fit face and poses for one focal length; mean square of the frames' median errors, px^2."""
    camera, poses = longer(views.assumed, factor), move_away(views.poses, factor)
    for _ in range(ROUNDS):
        rest = find_rest(views.landmarks, poses, camera)
        # So slow a rate that nothing holds the frames together: they are far apart.
        refined = refine_poses(poses, rest, views.landmarks[..., :2], camera, frame_rate_hz=0.1)
        poses = refined.poses
    return float((refined.frame_error_px**2).mean())
