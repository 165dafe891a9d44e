"""Clip -> AD-NeRF's layout, as AD-NeRF, RAD-NeRF and ER-NeRF read it (docs/export.md)."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.dataset import split_frames
from sspnerf.data.face_rectangle import face_rectangle
from sspnerf.data.manifest import ClipManifest
from sspnerf.errors import ClipError, UsageError
from sspnerf.exchange.conventions import poses_to_layout
from sspnerf.exchange.ibug68 import ibug68_from_labels, ibug68_from_mediapipe, write_landmarks
from sspnerf.exchange.parts import Part, parts_of_labels, write_parts
from sspnerf.exchange.recorded import EYE_BLINKS, write_blinks
from sspnerf.exchange.side import write_gray, write_side
from sspnerf.exchange.torso_picture import torso_picture
from sspnerf.exchange.transforms import TRAIN, VAL, Warn, write_transforms
from sspnerf.media.audio import write_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ, frame_times, speech_windows

Layout = Literal["ernerf", "radnerf", "adnerf"]
Progress = Callable[[int, int], None]

# Folders of pictures that each reader opens.
PICTURES: dict[str, tuple[str, ...]] = {
    "ernerf": ("ori_imgs", "gt_imgs", "torso_imgs", "parsing"),
    "radnerf": ("ori_imgs", "gt_imgs", "torso_imgs", "parsing"),
    "adnerf": ("ori_imgs", "head_imgs", "com_imgs", "parsing"),
}
# A block of features covers 16 steps of 20 ms around the frame, as DeepSpeech's do; HuBERT's are 2.
STEPS, STEP_HZ, HUBERT_STEPS = 16, 50.0, 2
# Where AD-NeRF looks along a ray, m from the mean distance of the head.
BEFORE_M, BEHIND_M = 0.2, 0.4


def export_clip(
    path: Path,
    folder: Path,
    *,
    layout: Layout = "ernerf",
    overwrite: bool = False,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Path:
    """Write a clip in AD-NeRF's layout.

    Args:
        path: The clip.
        folder: To be made; appears when it is whole.
        layout: Whose reader it is for.
        overwrite: Whether a layout there may be replaced.
        progress: Called with frames done and frames in all.
        warn: Called with one line for each thing that the reader will miss.

    Returns:
        The folder.

    Raises:
        UsageError: If the folder exists, or the layout is unknown.
        ClipError: If the clip cannot be read or said in this layout.
    """
    if layout not in get_args(Layout):
        raise UsageError(f"unknown layout {layout}", f"known: {', '.join(get_args(Layout))}")
    clip, folder, warn = open_clip(Path(path)), Path(folder), warn or (lambda _: None)
    _check_target(folder, overwrite=overwrite)
    _check_clip(clip, layout, warn)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name in PICTURES[layout]:
            (partial / name).mkdir(parents=True)
        _write_background(clip, partial)
        derived = _write_recorded(clip, partial)
        write_side(partial, clip, derived=derived)
        rectangles = _write_frames(clip, partial, layout, progress)
        mean_m = _write_cameras(clip, partial, rectangles)
        if layout == "ernerf":
            blinks = clip.blendshapes[:, list(EYE_BLINKS)].mean(axis=1)
            write_blinks(partial / "au.csv", blinks, clip.manifest.frame_rate_hz)
        if layout == "adnerf":
            _write_configs(
                partial, folder.resolve(), mean_m, held_out=len(_parts(clip.manifest)[1])
            )
        _rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _check_target(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise UsageError(f"{folder} exists already", "choose another name or pass --overwrite")
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / TRAIN).is_file()):
        raise UsageError(
            f"{folder} is no data layout and is not overwritten", "choose another name or remove it"
        )


def _check_clip(clip: Clip, layout: str, warn: Warn) -> None:
    told = clip.manifest
    if abs(told.camera.fx - told.camera.fy) > 1e-3 * told.camera.fx:
        raise ClipError(
            f"{clip.path} has focal lengths {told.camera.fx:g} and {told.camera.fy:g} px; the "
            "layout has one",
            "prepare the clip with square pixels",
        )
    valid = np.flatnonzero(clip.valid)
    training, _ = _parts(told)
    if not len(valid) or valid[0] >= len(training) or valid[-1] < len(training):
        raise ClipError(
            f"{clip.path} has no valid frame for training or none that is held out",
            "prepare a longer video",
        )
    if not told.features:
        warn(f"{clip.path} has no speech features: no aud.npy, which {layout} cannot do without")
    if told.frame_rate_hz != 25:
        warn(f"the clip has {told.frame_rate_hz:g} frames/s; the layout's readers take 25")


def _write_background(clip: Clip, folder: Path) -> None:
    _save_jpeg(folder / "bc.jpg", clip.background)


def _save_jpeg(path: Path, picture: NDArray[np.uint8]) -> None:
    # Colors at full resolution: lips are small.
    Image.fromarray(picture).save(path, quality=98, subsampling=0)


def _write_frames(
    clip: Clip, folder: Path, layout: str, progress: Progress | None
) -> list[tuple[int, int, int, int]]:
    """Write what there is one file of per frame; return the faces' boxes x0, y0, x1, y1, px."""
    width, height = clip.manifest.width, clip.manifest.height
    rectangles = []
    for index in range(clip.manifest.frames):
        labels = np.asarray(clip.labels[index])
        picture, parts = np.asarray(clip.frames[index]), parts_of_labels(labels)
        _save_jpeg(folder / "ori_imgs" / f"{index}.jpg", picture)
        write_parts(folder / "parsing" / f"{index}.png", parts)
        _write_composed(folder, layout, index, picture, parts, clip.background)
        write_gray(folder, "labels", index, labels)
        write_gray(folder, "mask", index, np.asarray(clip.mask[index]))
        if clip.manifest.landmark_scheme == "mediapipe478":
            points = ibug68_from_mediapipe(clip.landmarks[index])
        else:
            points = ibug68_from_labels(labels)
        # AD-NeRF takes a frame without this file for one without a face.
        if clip.valid[index]:
            write_landmarks(folder / "ori_imgs" / f"{index}.lms", points)
        rectangles.append(face_rectangle(points.astype(np.float32), width=width, height=height))
        if progress is not None:
            progress(index + 1, clip.manifest.frames)
    return rectangles


def _write_composed(
    folder: Path,
    layout: str,
    index: int,
    picture: NDArray[np.uint8],
    parts: NDArray[np.uint8],
    background: NDArray[np.uint8],
) -> None:
    """Write the pictures with the background pasted in, and those of parts of the person."""
    person = np.where((parts == Part.BACKGROUND)[..., None], background, picture)
    if layout == "adnerf":
        head = np.where((parts == Part.HEAD)[..., None], picture, background)
        _save_jpeg(folder / "com_imgs" / f"{index}.jpg", person)
        _save_jpeg(folder / "head_imgs" / f"{index}.jpg", head)
        return
    _save_jpeg(folder / "gt_imgs" / f"{index}.jpg", person)
    Image.fromarray(torso_picture(person, parts)).save(folder / "torso_imgs" / f"{index}.png")


def _write_recorded(clip: Clip, folder: Path) -> tuple[str, ...]:
    """Write sound and features; return the names of the aud*.npy."""
    if clip.manifest.has_speech:
        write_waveform(folder / "aud.wav", clip.speech(), SPEECH_SAMPLE_RATE_HZ)
    files: dict[str, NDArray[np.float32]] = {}
    for name in clip.manifest.features:
        files.setdefault(_file_name(name), _blocks(clip, name))
    if files and "aud" not in files:
        files["aud"] = next(iter(files.values()))
    for name, blocks in files.items():
        np.save(folder / f"{name}.npy", blocks)
    return tuple(files)


def _file_name(feature: str) -> str:
    """Name the file that a reader opens for these features."""
    if feature.startswith("aud"):
        return feature
    known = {"logmel": "aud", "hubert": "aud_hu", "deepspeech": "aud_ds"}
    return known.get(feature, f"aud_{feature}")


def _blocks(clip: Clip, name: str) -> NDArray[np.float32]:
    """Cut features into one block per frame: (frames, steps, dim)."""
    told, frames = clip.manifest.features[name], clip.manifest.frames
    features, rate_hz = clip.feature(name), clip.manifest.frame_rate_hz
    record = clip.manifest.stages.get("import")
    shape = record.settings.get(name) if record else None
    if isinstance(shape, str) and len(features) == frames:
        # They came from such a file, as one row per frame.
        return features.reshape(frames, *map(int, shape.split("x")))
    steps = HUBERT_STEPS if name == "hubert" else STEPS
    # The features nearest to each step: ours come at 100 per second or at 50.
    step_times_s = frame_times(np.arange(frames), rate_hz)[:, None] + (
        (np.arange(steps) - (steps - 1) / 2) / STEP_HZ
    )
    nearest = speech_windows(
        features, rate_hz=told.rate_hz, frame_times_s=step_times_s.ravel(), window=1
    )
    return nearest.reshape(frames, steps, told.dim)


def _write_cameras(clip: Clip, folder: Path, rectangles: list[tuple[int, int, int, int]]) -> float:
    """Write both transforms; return the mean distance of the head, m."""
    told = clip.manifest
    matrices = poses_to_layout(np.asarray(clip.poses, dtype=np.float64))
    camera = {
        "focal_len": told.camera.fx, "cx": told.camera.cx, "cy": told.camera.cy,
        "h": told.height, "w": told.width,
    }  # fmt: skip
    for name, part in zip((TRAIN, VAL), _parts(told), strict=True):
        frames: list[dict[str, Any]] = []
        for index in (i for i in part if clip.valid[i]):
            x0, y0, x1, y1 = rectangles[index]
            frames.append(
                {
                    "img_id": index,
                    "aud_id": index,
                    "transform_matrix": matrices[index].tolist(),
                    "face_rect": [x0, y0, x1 - x0, y1 - y0],
                }
            )
        write_transforms(folder / name, camera, frames)
    return float(np.linalg.norm(matrices[clip.valid, :3, 3], axis=1).mean())


def _parts(told: ClipManifest) -> tuple[range, range]:
    """Frames for training and held-out ones, as in our own training."""
    return split_frames(told.frames, told.cuts) if told.frames > 1 else (range(1), range(0))


def _write_configs(folder: Path, target: Path, mean_m: float, *, held_out: int) -> None:
    """Write the settings that AD-NeRF's own preparation leaves; they name the final folder."""
    lines = {
        "datadir": target,
        "basedir": target / "logs",
        "near": round(mean_m - BEFORE_M, 6),
        "far": round(mean_m + BEHIND_M, 6),
    }
    kinds: dict[str, dict[str, Any]] = {
        "HeadNeRF": {"expname": f"{target.name}_head", **lines, "testskip": max(1, held_out // 7)},
        "TorsoNeRF": {"expname": f"{target.name}_com", **lines, "testskip": max(1, held_out // 7)},
        "TorsoNeRFTest": {"expname": f"{target.name}_com", **lines, "with_test": 1},
    }
    for name, settings in kinds.items():
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (folder / f"{name}_config.txt").write_text(text, encoding="utf-8")


def _rename(partial: Path, folder: Path) -> None:
    if folder.exists():
        discarded = folder.with_name(f".{folder.name}.discarded")
        shutil.rmtree(discarded, ignore_errors=True)
        folder.rename(discarded)
        partial.rename(folder)
        shutil.rmtree(discarded)
    else:
        partial.rename(folder)
