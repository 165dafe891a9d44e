"""Clips to measure with: the frames of a given one, repeated to any length, at any size."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.portraits import sound
from sspnerf.data.clip import ARRAYS, OPTIONAL_ARRAYS, Clip
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import Camera
from sspnerf.errors import UsageError
from sspnerf.render.portrait import Portrait

# Of the disk's free space at most this share is used.
DISK_SHARE = 0.8
PICTURES = ("frames", "labels", "mask")


def write_repeated(clip: Clip, path: Path, *, seconds: float, size: int | None = None) -> Clip:
    """Write a clip of another length that shows the same frames again and again.

    Pictures of another size take the nearest pixel: they cost what others of that size cost, and
    are not to be looked at.

    Args:
        clip: What to repeat.
        path: The new clip's name.
        seconds: How long it is to be, s.
        size: Side of its pictures, px; None: as they are.

    Raises:
        UsageError: If the disk has not enough space for it.
    """
    manifest = clip.manifest
    width, height = (size or manifest.width), (size or manifest.height)
    frames = max(2, round(seconds * manifest.frame_rate_hz))
    _check_space(path, frames * width * height * 5)
    # The reference frame first: it has to be there, however short the clip.
    index = (manifest.reference_frame + np.arange(frames)) % manifest.frames
    with ClipWriter(path) as writer:
        for name in ARRAYS:
            if name not in OPTIONAL_ARRAYS or (clip.path / f"{name}.npy").is_file():
                _write_array(writer, clip, name, index, (height, width))
        writer.write_mesh(clip.mesh)
        writer.write_background(_nearest(clip.background, (height, width)))
        writer.write_speech(sound(clip, frames / manifest.frame_rate_hz))
        for kind, told in manifest.features.items():
            rows = max(1, round(frames / manifest.frame_rate_hz * told.rate_hz))
            known = clip.feature(kind)
            writer.write_feature(kind, known[np.arange(rows) % len(known)])
        camera = manifest.intrinsics.scaled(width, height)
        return writer.commit(
            manifest.model_copy(
                update={
                    "frames": frames, "width": width, "height": height, "reference_frame": 0,
                    "cuts": (), "stages": {}, "has_speech": True,
                    "camera": Camera(fx=camera.fx, fy=camera.fy, cx=camera.cx, cy=camera.cy),
                }
            )
        )  # fmt: skip


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > DISK_SHARE * free:
        raise UsageError(
            f"a clip of {needed / 1e9:.1f} GB is needed and {path.parent} has {free / 1e9:.1f} GB",
            "measure shorter or smaller clips, or let TMPDIR name a larger disk",
        )


def _write_array(
    writer: ClipWriter, clip: Clip, name: str, index: NDArray[np.int64], size: tuple[int, int]
) -> None:
    source = getattr(clip, name)
    shape = (*size, *source.shape[3:]) if name in PICTURES else source.shape[1:]
    target = writer.create_array(name, (len(index), *shape))
    for place, frame in enumerate(index):
        picture = source[frame]
        target[place] = _nearest(picture, size) if name in PICTURES else picture
    if name == "landmarks":
        target[..., 0] *= size[1] / clip.manifest.width
        target[..., 1] *= size[0] / clip.manifest.height


def _nearest(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample a picture (height, width, ...) to (height, width) by its nearest pixels."""
    if picture.shape[:2] == size:
        return np.asarray(picture)
    rows = (np.arange(size[0]) + 0.5) * picture.shape[0] / size[0]
    columns = (np.arange(size[1]) + 0.5) * picture.shape[1] / size[1]
    return np.asarray(picture[rows.astype(int)][:, columns.astype(int)])


def save_run(portrait: Portrait, path: Path) -> Path:
    """Save a portrait as a run's folder that renders."""
    path.mkdir(parents=True)
    portrait.save(path)
    return path
