"""Pictures of the synthetic speaker: the tracer's entries, kept compiled between processes."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.synth import looks, surfaces, tracer
from sspnerf.synth.surfaces import NECK_BASE, Vector, compiled_once
from sspnerf.synth.tracer import Bytes, Floats, fill_background, render_rows, skin_height


class Picture(NamedTuple):
    """One rendered frame and what is true of it."""

    frame: NDArray[np.uint8]
    """Colors, RGB. Shape (height, width, 3)."""
    labels: NDArray[np.uint8]
    """`SemanticClass` at each pixel's centre. Shape (height, width)."""
    mask: NDArray[np.uint8]
    """Share of the pixel that the person covers, 0 to 255. Shape (height, width)."""
    distance: NDArray[np.float32]
    """Along the unit ray through the pixel's centre, cm; NaN where only background is seen."""
    canonical: NDArray[np.float32]
    """Where each point is at rest, cm; NaN on the background. Shape (height, width, 3)."""


class _Entries(NamedTuple):
    """What Python calls; everything else is called by these."""

    render: Callable[..., None]
    background: Callable[[NDArray[np.uint8]], None]
    height: Callable[[float, float, NDArray[np.float64]], float]


def _entries(digest: str) -> _Entries:
    """Compile the entries, which close over a digest of all sources (see `compiled_once`)."""

    @compiled_once
    def render(
        camera: Vector, poses: Vector, face: Vector, bases: Vector,
        frame: Bytes, labels: Bytes, mask: Bytes, distance: Floats, canonical: Floats,
    ) -> None:  # fmt: skip
        if digest:
            render_rows(camera, poses, face, bases, frame, labels, mask, distance, canonical)

    @compiled_once
    def background(plate: Bytes) -> None:
        if digest:
            fill_background(plate)

    @compiled_once
    def height(x: float, y: float, face: Vector) -> float:
        return skin_height(x, y, face) if digest else 0.0

    return _Entries(render, background, height)


@functools.cache
def _compiled_entries() -> _Entries:
    sources = (surfaces.__file__, looks.__file__, tracer.__file__, __file__)
    content = b"".join(Path(source).read_bytes() for source in sources)
    return _entries(hashlib.sha256(content).hexdigest())


def face_height(x: float, y: float, face: NDArray[np.float64]) -> float:
    """Return z of the face's skin at x, y in head space, cm, in front view."""
    return _compiled_entries().height(float(x), float(y), face)


def render_picture(
    camera: Intrinsics,
    pose: NDArray[np.float64],
    torso_pose: NDArray[np.float64],
    face: NDArray[np.float64],
) -> Picture:
    """Render the speaker in one pose with one expression. Can be called from threads at once.

    Args:
        camera: The pinhole camera.
        pose: camera_to_world. Shape (4, 4).
        torso_pose: Camera to the torso's space, which is world of the reference frame. Shape
            (4, 4).
        face: Expression, columns as in `FACE_AXES`. Shape (8,).
    """
    size = (camera.height, camera.width)
    picture = Picture(
        frame=np.empty((*size, 3), np.uint8),
        labels=np.empty(size, np.uint8),
        mask=np.empty(size, np.uint8),
        distance=np.empty(size, np.float32),
        canonical=np.empty((*size, 3), np.float32),
    )
    neck_base = (pose @ np.linalg.inv(torso_pose) @ np.array([*NECK_BASE, 1.0]))[:3]
    _compiled_entries().render(
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        np.ascontiguousarray(np.stack([pose, torso_pose]), dtype=np.float64),
        np.ascontiguousarray(face, dtype=np.float64),
        np.stack([neck_base, np.array(NECK_BASE)]),
        *picture,
    )
    return picture


def paint_background(width: int, height: int) -> NDArray[np.uint8]:
    """Render the wall alone, RGB (height, width, 3), as `render_picture` shows it behind."""
    plate = np.empty((height, width, 3), np.uint8)
    _compiled_entries().background(plate)
    return plate
