"""transforms_train.json and transforms_val.json: which pictures, and where the camera stood.

    {"focal_len": 1100.0, "cx": 225.0, "cy": 225.0,
     "frames": [{"img_id": 0, "aud_id": 0, "transform_matrix": [[..4], [..4], [..4], [..4]],
                 "face_rect": [x, y, width, height]}, ...]}

`focal_len`, `cx`, `cy` are px; `h` and `w` may be given, else the picture is 2 cy by 2 cx. `img_id`
names the picture and counts frames of the video; `aud_id` is a row of aud.npy. What else is there
(`face_rect`, ...) is not read.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError

TRAIN, VAL = "transforms_train.json", "transforms_val.json"
# A rotation's columns may be off by rounding; more than this is none.
LEAST_RIGID = 0.02

Warn = Callable[[str], None]


class PosedPicture(NamedTuple):
    """One entry of `frames`."""

    img_id: int
    aud_id: int
    matrix: NDArray[np.float64]
    """Their transform_matrix (`conventions`). Shape (4, 4)."""
    is_held_out: bool
    """Whether it is of transforms_val.json."""


class Transforms(NamedTuple):
    """What both files say."""

    pictures: list[PosedPicture]
    """By img_id, each once."""
    focal: float
    """px."""
    cx: float
    cy: float
    size: tuple[int, int] | None
    """Width and height, px, where the file tells."""


def read_transforms(folder: Path, warn: Warn) -> Transforms:
    """Read both files.

    Args:
        folder: The layout's.
        warn: Called with one line for each thing that is not as it should be.

    Raises:
        MediaError: If transforms_train.json is missing, one of them is broken, or they differ in
            their camera.
    """
    if not (folder / TRAIN).is_file():
        what = "does not exist" if not folder.is_dir() else f"has no {TRAIN}"
        raise MediaError(
            f"{folder} {what}", "give a folder that AD-NeRF's, RAD-NeRF's or ER-NeRF's scripts made"
        )
    train = _read(folder / TRAIN)
    parts = [(train, False)]
    if (folder / VAL).is_file():
        parts.append((_read(folder / VAL), True))
    else:
        warn(f"{folder} has no {VAL}; all frames are of {TRAIN}")
    found: dict[int, PosedPicture] = {}
    for (content, path), is_held_out in parts:
        for entry in content["frames"]:
            picture = _posed_picture(entry, path, is_held_out=is_held_out)
            if picture.img_id in found:
                warn(f"{path.name} names picture {picture.img_id} once more; the first counts")
            found.setdefault(picture.img_id, picture)
    cameras = [_camera(content, path) for (content, path), _ in parts]
    if any(camera != cameras[0] for camera in cameras):
        raise MediaError(
            f"{folder}: {TRAIN} and {VAL} are of different cameras: {cameras[0]}, {cameras[-1]}",
            "a clip has one camera; give pictures of one take",
        )
    focal, cx, cy, width, height = cameras[0]
    size = None if width is None or height is None else (int(width), int(height))
    return Transforms([found[key] for key in sorted(found)], focal, cx, cy, size)


def _read(path: Path) -> tuple[dict[str, Any], Path]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} is damaged: {error}", "make it again") from error
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise MediaError(f"{path} has no list `frames`", "make it again")
    if not content["frames"]:
        raise MediaError(f"{path} names no frames", "make it again")
    return content, path


def _camera(content: dict[str, Any], path: Path) -> tuple[float, float, float, Any, Any]:
    try:
        focal, cx, cy = (float(content[key]) for key in ("focal_len", "cx", "cy"))
    except (KeyError, TypeError, ValueError) as error:
        raise MediaError(
            f"{path} has no focal_len, cx and cy that are numbers", "make it again"
        ) from error
    if not (np.isfinite([focal, cx, cy]).all() and focal > 0):
        raise MediaError(
            f"{path}: focal_len {focal}, cx {cx}, cy {cy}; expected px, focal_len above 0"
        )
    return focal, cx, cy, content.get("w"), content.get("h")


def _posed_picture(entry: Any, path: Path, *, is_held_out: bool) -> PosedPicture:  # noqa: ANN401 - anything may be in a JSON file
    try:
        img_id = int(entry["img_id"])
        aud_id = int(entry.get("aud_id", img_id))
        matrix = np.array(entry["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MediaError(
            f"{path}: a frame lacks img_id or a transform_matrix of numbers", "make it again"
        ) from error
    where = f"{path}: transform_matrix of picture {img_id}"
    if matrix.shape != (4, 4):
        raise MediaError(f"{where} has shape {matrix.shape}; expected (4, 4)")
    if not np.isfinite(matrix).all():
        raise MediaError(f"{where} holds NaN or infinity", "track that frame again or remove it")
    linear = matrix[:3, :3]
    off = float(np.abs(linear.T @ linear - np.eye(3)).max())
    if off > LEAST_RIGID or np.linalg.det(linear) < 0:
        raise MediaError(
            f"{where} is no rigid motion (off by {off:.2g}, determinant "
            f"{np.linalg.det(linear):.2g})",
            "track that frame again or remove it",
        )
    if img_id < 0 or aud_id < 0:
        raise MediaError(f"{path}: img_id {img_id}, aud_id {aud_id}; expected 0 or more")
    return PosedPicture(img_id, aud_id, matrix, is_held_out)


def write_transforms(path: Path, camera: dict[str, float], frames: list[dict[str, Any]]) -> None:
    """Write one of the two files.

    Args:
        path: The file.
        camera: focal_len, cx, cy, w, h, px.
        frames: The entries.
    """
    path.write_text(json.dumps({**camera, "frames": frames}, indent=2) + "\n", encoding="utf-8")
