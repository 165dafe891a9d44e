"""preview.mp4: what prepare saw, to look at before training."""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sspnerf.data.semantics import PALETTE, SEMANTIC_CLASSES, SemanticClass
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.face_regions import face_regions
from sspnerf.prepare.poses import invert_rigid

# Side of the film, px: small clips are shown larger, or the mesh hides the face; large ones
# smaller, as a look at them shall not cost more than they do.
PREVIEW_SIDE = 384
TINT = 0.4
MESH_SHARE = 0.35
AXIS_CM = 6.0
# World axes x, y, z.
AXIS_COLORS = ((230, 60, 60), (60, 200, 60), (70, 110, 255))


class PreviewFrame(NamedTuple):
    """What there is to draw of one frame."""

    picture: NDArray[np.uint8]
    """RGB. Shape (side, side, 3)."""
    labels: NDArray[np.uint8]
    """Shape (side, side)."""
    landmarks: NDArray[np.float32]
    """px. Shape (478, 3)."""
    pose: NDArray[np.float64]
    """camera_to_world. Shape (4, 4)."""
    torso_pose: NDArray[np.float64]
    """Shape (4, 4)."""
    valid: bool


def draw_preview(
    frame: PreviewFrame, *, intrinsics: Intrinsics, anchors: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Draw labels, mesh and axes over a frame.

    Args:
        frame: What to draw.
        intrinsics: The camera of the frame.
        anchors: Where the axes of head and torso start, world cm. Shape (2, 3).

    Returns:
        RGB. Shape (384, 384, 3).
    """
    side = PREVIEW_SIDE
    shown = _tinted(frame, side)
    meshed = shown.copy()
    scale = side / frame.picture.shape[0]
    mesh = (frame.landmarks[:, :2] * scale * 16 - 8).astype(np.int32)
    cv2.polylines(meshed, list(mesh[_mesh_edges()]), False, (255, 255, 255), 1, cv2.LINE_AA, 4)
    blended = np.asarray(
        cv2.addWeighted(meshed, MESH_SHARE, shown, 1 - MESH_SHARE, 0), dtype=np.uint8
    )
    camera = intrinsics.scaled(side, side)
    for pose, anchor in zip((frame.pose, frame.torso_pose), anchors, strict=True):
        _draw_axes(blended, pose, anchor, camera)
    if not frame.valid:
        cv2.rectangle(blended, (0, 0), (side - 1, side - 1), (255, 0, 0), 6)
    return blended


def _tinted(frame: PreviewFrame, side: int) -> NDArray[np.uint8]:
    """The picture, resampled and tinted with its labels' colors. Shape (side, side, 3)."""
    method = cv2.INTER_CUBIC if frame.picture.shape[0] <= side else cv2.INTER_AREA
    picture = cv2.resize(frame.picture, (side, side), interpolation=method)
    labels = cv2.resize(frame.labels, (side, side), interpolation=cv2.INTER_NEAREST)
    # Bytes throughout: this runs for every frame.
    person = cv2.convertScaleAbs(picture, alpha=1 - TINT)
    behind = cv2.convertScaleAbs(picture, alpha=1 - TINT / 2)
    cv2.copyTo(behind, (labels == SemanticClass.BACKGROUND).astype(np.uint8), person)
    return np.asarray(cv2.add(person, cv2.LUT(cv2.merge([labels] * 3), _tints())), dtype=np.uint8)


@cache
def _tints() -> NDArray[np.uint8]:
    """What the color of each label adds. Shape (1, 256, 3)."""
    share = np.full((SEMANTIC_CLASSES, 1), TINT)
    share[SemanticClass.BACKGROUND] = TINT / 2
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, :SEMANTIC_CLASSES] = np.round(PALETTE * share)
    return table


@cache
def _mesh_edges() -> NDArray[np.int32]:
    """Each edge of the mesh once. Shape (edges, 2)."""
    triangles = face_regions().triangles
    edges = np.concatenate([np.roll(triangles, turn, axis=1)[:, :2] for turn in range(3)])
    return np.unique(np.sort(edges, axis=1), axis=0)


def _draw_axes(
    canvas: NDArray[np.uint8],
    pose: NDArray[np.float64],
    anchor: NDArray[np.float64],
    camera: Intrinsics,
) -> None:
    ends = np.concatenate((anchor[None], anchor + AXIS_CM * np.eye(3)))
    to_camera = invert_rigid(pose)
    in_camera = ends @ to_camera[:3, :3].T + to_camera[:3, 3]
    if (in_camera[:, 2] < 1).any():
        return
    places = in_camera[:, :2] / in_camera[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    origin, *tips = (places * 16 - 8).astype(int).tolist()
    for tip, color in zip(tips, AXIS_COLORS, strict=True):
        cv2.line(canvas, origin, tip, color, 2, cv2.LINE_AA, 4)
