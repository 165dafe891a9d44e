"""AD-NeRF's layout -> clip (docs/import.md)."""

import hashlib
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.data.clip import Clip
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import Camera, ClipManifest, LandmarkScheme, SpeechFeature, StageRecord
from sspnerf.errors import MediaError, UsageError
from sspnerf.exchange.conventions import CM_PER_UNIT, Poses, fill_poses, poses_from_layout
from sspnerf.exchange.layout_folder import LayoutFolder, open_layout
from sspnerf.exchange.recorded import (
    EYE_BLINKS,
    find_features,
    find_sound,
    read_blinks,
    read_features,
)
from sspnerf.exchange.resample import resample_labels, resample_picture
from sspnerf.exchange.side import Side, read_side
from sspnerf.exchange.transforms import TRAIN, VAL, Warn
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import LOG_MEL_RATE_HZ, SPEECH_SAMPLE_RATE_HZ, log_mel

Progress = Callable[[int, int], None]
Scalar = str | int | float | bool | None

# What all scripts of the family extract pictures at.
USUAL_RATE_HZ = 25.0
SIZES, RATES_HZ = (16, 1024), (1.0, 240.0)
# Cameras that miss the landmarks by more than this share of the side do not belong to the
# pictures; usual trackers miss by a third of it.
MOST_REPROJECTION = 0.01
# The unit may be off from the metre by this factor: BFM's faces are grown-up.
USUAL_SCALE = 1.5
# Sound and picture of one take may end this far apart, s.
SOUND_TOLERANCE_S = 0.5
# Looking, masks, labels and torso each go over all frames.
PASSES = 4
# Pages of memory maps are handed back after so many frames.
RELEASE_EVERY = 128
NAME = "import"


class _Person(NamedTuple):
    """What the manifest says besides the layout."""

    landmark_scheme: LandmarkScheme
    reference_frame: int
    settings: dict[str, Scalar]


@dataclass(kw_only=True)
class _Job:
    """One import in progress."""

    layout: LayoutFolder
    side: Side | None
    camera: Intrinsics
    frame_rate_hz: float
    writer: ClipWriter
    warn: Warn
    passes: int
    progress: Progress
    features: dict[str, SpeechFeature] = field(default_factory=dict)
    has_speech: bool = False
    maps: list[Any] = field(default_factory=list)
    """Arrays of pictures, as memory maps."""
    done: int = 0

    def create(self, name: str, *channels: int) -> NDArray[np.uint8]:
        """Make an array of pictures, to be filled in place."""
        shape = (len(self.layout.ids), self.camera.height, self.camera.width, *channels)
        self.maps.append(self.writer.create_array(name, shape))
        made: NDArray[np.uint8] = self.maps[-1]
        return made

    def tick(self) -> None:
        """Count a frame of a pass; tell of it; hand memory of mapped files back now and then."""
        self.done += 1
        self.progress(self.done // self.passes, len(self.layout.ids))
        if self.done % RELEASE_EVERY == 0 and hasattr(mmap, "MADV_DONTNEED"):
            for mapping in (getattr(array, "_mmap", None) for array in self.maps):
                if mapping is not None:
                    mapping.madvise(mmap.MADV_DONTNEED)

    def matrices(self) -> Poses:
        """Return their transform_matrix of each frame, NaN where there is none."""
        matrices = np.full((len(self.layout.ids), 4, 4), np.nan)
        for index, img_id in enumerate(self.layout.ids):
            if img_id in self.layout.named:
                matrices[index] = self.layout.named[img_id].matrix
        return matrices


def import_clip(
    folder: Path,
    path: Path,
    *,
    size: int | None = None,
    frame_rate_hz: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    warn: Warn | None = None,
) -> Clip:
    """Turn a folder in AD-NeRF's layout into a clip.

    Args:
        folder: What AD-NeRF's, RAD-NeRF's or ER-NeRF's scripts made, or `sspnerf export`.
        path: The clip's folder.
        size: Height of the frames, px; as the pictures are if None.
        frame_rate_hz: Of the pictures; 25 if None, and nothing else is known.
        overwrite: Whether a clip there may be replaced.
        progress: Called with the work done and all of it, in frames.
        warn: Called with one line for each thing that is not as it should be, but no reason to
            stop.

    Returns:
        The clip, opened.

    Raises:
        MediaError: If something necessary is missing, broken or contradicts something else.
        UsageError: If the clip exists, a setting is out of range, or an extra is not installed.
        SspnerfError: If a model file cannot be had.
    """
    _check_range("size", size, *SIZES)
    _check_range("frame-rate-hz", frame_rate_hz, *RATES_HZ)
    folder, warn = Path(folder), warn or (lambda _: None)
    side = read_side(folder)
    layout = open_layout(folder, warn, frames=side.manifest.frames if side else None)
    _check_shape(layout, side)
    known_rate = side.manifest.frame_rate_hz if side else USUAL_RATE_HZ
    height = size or layout.height
    width = round(layout.width * height / layout.height)
    with ClipWriter(path, overwrite=overwrite) as writer:
        job = _Job(
            layout=layout,
            side=side,
            camera=layout.intrinsics.scaled(width, height),
            frame_rate_hz=frame_rate_hz or known_rate,
            writer=writer,
            warn=warn,
            passes=1 if side else PASSES,
            progress=progress or (lambda *_: None),
        )
        person = _take_over(job, side) if side else _look(job)
        shapes = _write_recorded(job)
        return writer.commit(_manifest(job, person, shapes))


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise UsageError(f"--{name} is {value:g}; expected {low:g} to {high:g}")


def _check_shape(layout: LayoutFolder, side: Side | None) -> None:
    shape = (layout.width, layout.height)
    if side and shape != (side.manifest.width, side.manifest.height):
        raise MediaError(
            f"{layout.pictures} are {shape[0]} x {shape[1]} px and {side.path} tells of "
            f"{side.manifest.width} x {side.manifest.height}",
            f"remove the folder `{side.path.name}`, or export again",
        )
    if not side and layout.width != layout.height:
        raise MediaError(
            f"{layout.pictures} are {shape[0]} x {shape[1]} px; expected squares",
            "prepare the video itself: sspnerf prepare VIDEO CLIP",
        )


def _take_over(job: _Job, side: Side) -> _Person:
    """Write what the side folder holds, with the layout's pictures and cameras."""
    frames, labels, mask = job.create("frames", 3), job.create("labels"), job.create("mask")
    for index, img_id in enumerate(job.layout.ids):
        frames[index] = resample_picture(job.layout.picture(img_id), frames.shape[1:])
        labels[index] = resample_labels(side.gray("labels", img_id), labels.shape[1:])
        mask[index] = resample_picture(side.gray("mask", img_id), mask.shape[1:])
        job.tick()
    scale = (job.camera.width / side.manifest.width, job.camera.height / side.manifest.height)
    landmarks = side.arrays["landmarks"] * np.array([*scale, scale[0]], dtype=np.float32)
    matrices = job.matrices()
    known = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    poses = np.tile(np.eye(4), (len(known), 1, 1))
    poses[known] = poses_from_layout(matrices[known])
    _write_person(
        job,
        landmarks=landmarks,
        poses=fill_poses(poses, known),
        torso_poses=side.arrays["torso_poses"],
        torso_confidence=side.arrays["torso_confidence"],
        blendshapes=side.arrays["blendshapes"],
        valid=side.arrays["valid"] & known,
    )
    job.writer.write_mesh(side.mesh)
    background = job.layout.background()
    if background is None:
        raise MediaError(f"{job.layout.path} has no bc.jpg", "export the clip again")
    job.writer.write_background(resample_picture(background, frames.shape[1:]))
    told = side.manifest
    return _Person(told.landmark_scheme, told.reference_frame, {"cm_per_unit": CM_PER_UNIT})


def _look(job: _Job) -> _Person:
    """Find in the pictures what the layout does not hold (needs the extra `prepare`)."""
    from sspnerf.exchange.face import find_face, observe
    from sspnerf.exchange.labels import write_labels, write_masks
    from sspnerf.exchange.torso import find_torso
    from sspnerf.geometry.face_mesh import FaceMesh
    from sspnerf.prepare.face_regions import face_regions

    rate_hz, layout = job.frame_rate_hz, job.layout
    frames, labels, mask = job.create("frames", 3), job.create("labels"), job.create("mask")
    observed = observe(layout, frames, frame_rate_hz=rate_hz, tick=job.tick)
    face = find_face(observed, job.matrices(), job.camera, frame_rate_hz=rate_hz)
    _check_face(job, face.reprojection_px, face.world.scale, lost=int((~face.seen).sum()))
    write_masks(layout, frames, mask, tick=job.tick)
    write_labels(
        layout, frames, mask, face.landmarks, face.seen, labels,
        frame_rate_hz=rate_hz, tick=job.tick,
    )  # fmt: skip
    torso = find_torso(frames, labels, mask, face, job.camera, tick=job.tick)
    if not torso.confidence.any():
        job.warn("the torso cannot be aligned; its pose follows the head's by half")
    _write_person(
        job,
        landmarks=face.landmarks,
        poses=face.poses,
        torso_poses=torso.poses,
        torso_confidence=torso.confidence,
        blendshapes=_with_blinks(job, face.blendshapes, face.seen),
        valid=face.valid,
    )
    job.writer.write_mesh(
        FaceMesh(vertices=face.rest.astype(np.float32), triangles=face_regions().triangles.copy())
    )
    _write_background(job, frames, mask)
    found: dict[str, Scalar] = {
        "cm_per_unit": round(CM_PER_UNIT * face.world.scale, 4),
        "reprojection_px": round(face.reprojection_px, 3),
        "torso_confidence": round(float(torso.confidence.mean()), 4),
    }
    return _Person("mediapipe478", torso.reference_frame, found)


def _write_background(job: _Job, frames: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    from sspnerf.prepare.background import background_plate

    plate = job.layout.background()
    if plate is None:
        job.warn(f"{job.layout.path} has no bc.jpg; the background is made from the pictures")
        plate = background_plate(frames, mask).picture
    job.writer.write_background(resample_picture(plate, frames.shape[1:]))


def _check_face(job: _Job, reprojection_px: float, scale: float, *, lost: int) -> None:
    layout, warn = job.layout, job.warn
    if lost:
        warn(f"no face found in {lost} of {len(layout.ids)} frames; interpolated there")
    if reprojection_px > MOST_REPROJECTION * job.camera.height:
        warn(
            f"the cameras of {layout.path} miss the face by {reprojection_px:.1f} px of "
            f"{job.camera.height}; they may be of other pictures"
        )
    if not 1 / USUAL_SCALE < scale < USUAL_SCALE:
        warn(f"the unit of {layout.path} is {CM_PER_UNIT * scale:.3g} cm; expected about 100")


def _with_blinks(
    job: _Job, blendshapes: NDArray[np.float32], seen: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Take blinks of frames in which no face was found from au.csv."""
    path = job.layout.path / "au.csv"
    if seen.all() or not path.is_file():
        return blendshapes
    blinks = read_blinks(path, job.layout.ids)
    known = ~seen & np.isfinite(blinks)
    for place in EYE_BLINKS:
        blendshapes[known, place] = blinks[known]
    return blendshapes


def _write_person(job: _Job, **arrays: NDArray[Any]) -> None:
    for name, array in arrays.items():
        job.writer.write_array(name, array)


def _write_recorded(job: _Job) -> dict[str, Scalar]:
    """Write sound and speech features; return the shape of the blocks of each aud*.npy."""
    layout, side = job.layout, job.side
    if side:
        for name, told in side.manifest.features.items():
            _write_feature(job, name, side.feature(name), told)
    sound = find_sound(layout.path, job.warn)
    if sound is not None:
        waveform = read_waveform(sound, SPEECH_SAMPLE_RATE_HZ)
        # Picture 0 and the sound begin together.
        first = round(layout.ids.start / job.frame_rate_hz * SPEECH_SAMPLE_RATE_HZ)
        waveform = waveform[first:]
        if not len(waveform):
            raise MediaError(f"{sound} ends before picture {layout.ids.start}", "give the sound")
        _check_length(job, len(waveform) / SPEECH_SAMPLE_RATE_HZ)
        job.writer.write_speech(waveform)
        job.has_speech = True
        if "logmel" not in job.features:
            features = log_mel(waveform)
            told = SpeechFeature(rate_hz=LOG_MEL_RATE_HZ, dim=features.shape[1])
            _write_feature(job, "logmel", features, told)
    shapes: dict[str, Scalar] = {}
    first_entry = layout.transforms.pictures[0]
    shift = first_entry.aud_id - first_entry.img_id
    rows = np.array(
        [layout.named[i].aud_id if i in layout.named else max(0, i + shift) for i in layout.ids]
    )
    for name, path in find_features(layout.path).items():
        if side and name in side.derived:
            continue
        features, shapes[name] = read_features(path, rows, job.frame_rate_hz, job.warn)
        told = SpeechFeature(rate_hz=job.frame_rate_hz, dim=features.shape[1])
        _write_feature(job, name, features, told)
    return shapes


def _write_feature(
    job: _Job, name: str, features: NDArray[np.float32], told: SpeechFeature
) -> None:
    job.writer.write_feature(name, features)
    job.features[name] = told


def _check_length(job: _Job, sound_s: float) -> None:
    picture_s = len(job.layout.ids) / job.frame_rate_hz
    if abs(sound_s - picture_s) > SOUND_TOLERANCE_S:
        job.warn(
            f"the sound lasts {sound_s:.1f} s and the picture {picture_s:.1f} s at "
            f"{job.frame_rate_hz:g} frames/s; --frame-rate-hz tells another rate"
        )


def _manifest(job: _Job, person: _Person, shapes: dict[str, Scalar]) -> ClipManifest:
    camera, told = job.camera, job.side.manifest if job.side else None
    files = [job.layout.path / name for name in (TRAIN, VAL)]
    content = b"".join(path.read_bytes() for path in files if path.is_file())
    record = StageRecord(
        settings={
            "pictures": job.layout.pictures.name,
            "frame_rate_hz": job.frame_rate_hz,
            "size": camera.height,
            **person.settings,
            **shapes,
        },
        input_hash=hashlib.sha256(content).hexdigest(),
    )
    return ClipManifest(
        source=told.source if told else job.layout.path.resolve().name,
        frame_rate_hz=job.frame_rate_hz,
        frames=len(job.layout.ids),
        width=camera.width,
        height=camera.height,
        camera=Camera(fx=camera.fx, fy=camera.fy, cx=camera.cx, cy=camera.cy),
        crop=told.crop if told else None,
        source_size=told.source_size if told else None,
        landmark_scheme=person.landmark_scheme,
        reference_frame=person.reference_frame,
        cuts=told.cuts if told else (),
        has_speech=job.has_speech,
        features=job.features,
        stages={**(told.stages if told else {}), NAME: record},
        licence=told.licence if told else "",
    )
