"""The stages of `prepare`: each adds to the workspace and returns its settings for the record."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from sspnerf.data.manifest import SpeechFeature
from sspnerf.data.semantics import SemanticClass
from sspnerf.errors import MediaError
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import LOG_MEL_RATE_HZ, SPEECH_SAMPLE_RATE_HZ, log_mel
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.video import resampled_frames
from sspnerf.perception.landmarks import FaceLandmarker
from sspnerf.perception.models import model_path
from sspnerf.prepare import torso as torso_motion
from sspnerf.prepare.background import (
    SAMPLE_FRAMES,
    background_plate,
    complete_silhouette,
    spread_evenly,
)
from sspnerf.prepare.colors import fit_skin_color
from sspnerf.prepare.face_regions import CHIN, face_regions
from sspnerf.prepare.framing import choose_crop, crop_picture
from sspnerf.prepare.masks import (
    HAIR_KEPT_SIDE,
    PERSON_SIDE,
    HairNetwork,
    PersonNetwork,
    SilhouetteFilter,
    fit,
    head_box,
    one_opencv_thread,
    window_to_frame,
)
from sspnerf.prepare.observations import Observations
from sspnerf.prepare.parsing import face_skin_mask, parse_frame
from sspnerf.prepare.preview import PreviewFrame, draw_preview, preview_side
from sspnerf.prepare.tracking import invert_rigid, track_face
from sspnerf.prepare.workspace import Scalar, Workspace

# Pictures looked at to choose the crop.
FRAMING_PICTURES = 20
FRAMING_EVERY_S = 0.5
# Networks see the crop at its own size, up to this; the clip's size may be smaller.
WORK_SIDE = 512
# The hair network looks so often; in between, hair keeps its place on the head.
HAIR_EVERY_S = 0.3
# Sound and picture of one take may end this far apart, s.
SOUND_TOLERANCE_S = 0.5
# Frames from which the skin's color is learned, and pixels of each.
SKIN_FRAMES = 60
SKIN_PIXELS = 2000


def decode(work: Workspace) -> dict[str, Scalar]:
    """Count the frames and choose the crop; a sound that cannot be read is found here."""
    if work.info.has_sound:
        work.waveform = read_waveform(work.video, SPEECH_SAMPLE_RATE_HZ)
    about = max(1, round(work.info.duration_s * work.frame_rate_hz))
    every = max(1, min(about // FRAMING_PICTURES, round(FRAMING_EVERY_S * work.frame_rate_hz)))
    faces: list[NDArray[np.float32]] = []
    looked = 0
    with FaceLandmarker(model_path("face_landmarker.task"), video=False) as landmarker:
        for index, picture in enumerate(resampled_frames(work.video, work.frame_rate_hz)):
            work.frames = index + 1
            # A face that shows up late is still waited for.
            if index % every == 0 and (looked < FRAMING_PICTURES or not faces):
                looked += 1
                seen = landmarker.observe(picture)
                faces += [seen.landmarks] if seen else []
            work.progress("decode", index + 1, max(about, index + 1))
    if not faces:
        raise MediaError(
            f"{work.video} shows no face in any of {looked} frames looked at",
            "film one person, facing the camera, lit from the front",
        )
    work.crop = choose_crop(work.info.width, work.info.height, faces)
    return {"frame_rate_hz": work.frame_rate_hz, "size": work.settings.size}


def observe(work: Workspace) -> dict[str, Scalar]:
    """Look at every frame once: picture, landmarks, person mask and hair."""
    side, count = work.settings.size, work.frames
    frames = work.create("frames", (count, side, side, 3))
    masks = _MaskWriter(work)
    work.observed = Observations.none(count)
    work.hair_boxes = np.zeros((count, 3))
    box = np.array([0.0, 0.0, 1.0])
    with (
        FaceLandmarker(model_path("face_landmarker.task"), video=True) as landmarker,
        one_opencv_thread(),
        masks,
    ):
        for index, picture in enumerate(_work_pictures(work)):
            seen = landmarker.observe(picture, index / work.frame_rate_hz)
            box = head_box(seen.landmarks) / picture.shape[0] if seen else box
            work.hair_boxes[index] = box * side
            masks.push(picture, box * picture.shape[0])
            frames[index] = fit(picture, side)
            work.observed.put(index, seen, scale=side / picture.shape[0])
            work.release(index)
            work.progress("observe", index + 1, count)
    _require_faces(work)
    return {"hair_every_s": HAIR_EVERY_S, "work_side": WORK_SIDE}


class _MaskWriter:
    """Runs the mask networks beside the landmarker, at most two frames behind it, and stores masks.

    A context manager; when it ends, all masks are stored.
    """

    def __init__(self, work: Workspace) -> None:
        side, count = work.settings.size, work.frames
        self._mask = work.create("mask", (count, side, side))
        self._hair_every = _hair_every(work)
        looks = -(-count // self._hair_every)
        self._hair = work.scratch("hair", (looks, HAIR_KEPT_SIDE, HAIR_KEPT_SIDE))
        self._person_network = PersonNetwork(model_path("selfie_segmentation.tflite"))
        self._hair_network = HairNetwork(model_path("hair_segmentation.tflite"))
        self._silhouette = SilhouetteFilter(max(PERSON_SIDE, side))
        self._beside = ThreadPoolExecutor(1)
        self._running: deque[tuple[NDArray[np.uint8], Future[NDArray[np.float32]]]] = deque()
        self._pushed = 0
        self._finished = 0

    def __enter__(self) -> "_MaskWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._beside.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self._collect(0)
            self._store(self._silhouette.flush())

    def push(self, picture: NDArray[np.uint8], box: NDArray[np.float64]) -> None:
        """Take the next frame, and the square around the head in it, px."""
        job = self._beside.submit(self._look, picture, box, self._pushed)
        self._running.append((picture, job))
        self._pushed += 1
        self._collect(2)

    def _look(
        self, picture: NDArray[np.uint8], box: NDArray[np.float64], index: int
    ) -> NDArray[np.float32]:
        if index % self._hair_every == 0:
            probability = self._hair_network.probability(picture, box)
            self._hair[index // self._hair_every] = _to_bytes(probability)
        return self._person_network.probability(picture)

    def _collect(self, may_run: int) -> None:
        while len(self._running) > may_run:
            picture, job = self._running.popleft()
            self._store(self._silhouette.push(picture, job.result()))

    def _store(self, masks: list[NDArray[np.float32]]) -> None:
        for mask in masks:
            self._mask[self._finished] = _to_bytes(fit(mask, self._mask.shape[1]))
            self._finished += 1


def _hair_every(work: Workspace) -> int:
    return max(1, round(HAIR_EVERY_S * work.frame_rate_hz))


def _work_pictures(work: Workspace) -> Iterator[NDArray[np.uint8]]:
    """The crop of every frame at the size in which it is looked at."""
    crop_side = work.crop[2] - work.crop[0]
    side = max(work.settings.size, min(crop_side, WORK_SIDE))
    for picture in resampled_frames(work.video, work.frame_rate_hz):
        yield fit(crop_picture(picture, work.crop), side)


def _to_bytes(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(probability * 255).astype(np.uint8)


def _require_faces(work: Workspace) -> None:
    found = int(work.observed.valid.sum())
    if not found:
        raise MediaError(
            f"{work.video} shows no face in its crop {work.crop}",
            "film one person, facing the camera, lit from the front",
        )
    if found < work.frames:
        work.warn(f"no face in {work.frames - found} of {work.frames} frames; interpolated there")


def background(work: Workspace) -> dict[str, Scalar]:
    """See behind the person, then let what differs from it complete the person's mask."""
    frames, mask = work.array("frames"), work.array("mask")
    plate = background_plate(frames, mask)
    work.writer.write_background(plate.picture)
    for index in range(work.frames):
        mask[index] = complete_silhouette(frames[index], mask[index], plate)
        work.release(index)
        work.progress("background", index + 1, work.frames)
    return {"sample_frames": SAMPLE_FRAMES}


def tracking(work: Workspace) -> dict[str, Scalar]:
    """Find the face at rest and the camera of every frame."""
    work.progress("tracking", 0, 1)
    track = track_face(work.observed, work.intrinsics)
    work.track = track
    valid = np.flatnonzero(track.valid)
    work.reference_frame = int(valid[np.abs(valid - work.frames // 2).argmin()])
    work.writer.write_array("landmarks", track.landmarks)
    work.writer.write_array("blendshapes", track.blendshapes)
    work.writer.write_array("valid", track.valid)
    work.writer.write_array("poses", track.poses)
    work.writer.write_mesh(
        FaceMesh(vertices=track.rest.astype(np.float32), triangles=face_regions().triangles.copy())
    )
    work.progress("tracking", 1, 1)
    return {"reprojection_px": round(track.reprojection_px, 3)}


def parsing(work: Workspace) -> dict[str, Scalar]:
    """Label every pixel of every frame."""
    side, landmarks = work.settings.size, work.done_track.landmarks
    frames, mask = work.array("frames"), work.array("mask")
    seen = np.flatnonzero(work.done_track.valid)
    chosen = seen[spread_evenly(len(seen), SKIN_FRAMES)]
    samples = [_skin_pixels(frames[index], landmarks[index]) for index in chosen]
    skin = fit_skin_color(np.concatenate(samples))
    labels = work.create("labels", (work.frames, side, side))
    for index in range(work.frames):
        labels[index] = parse_frame(
            frames[index],
            landmarks[index],
            person=_to_share(mask[index]),
            hair=_hair_in_frame(work, index),
            skin=skin,
        )
        work.release(index)
        work.progress("parsing", index + 1, work.frames)
    return {}


def _to_share(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    return mask.astype(np.float32) / np.float32(255)


def _skin_pixels(picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    pixels = picture[face_skin_mask(landmarks, (picture.shape[0], picture.shape[1]))]
    return pixels[:: max(1, len(pixels) // SKIN_PIXELS)]


def _hair_in_frame(work: Workspace, index: int) -> NDArray[np.float32]:
    """Hair between two looks at it: both of them, carried along with the head, weighted by time."""
    hair, every = work.array("hair"), _hair_every(work)
    before, since = divmod(index, every)
    after = min(before + 1, len(hair) - 1)
    share = np.float32(since / every)
    window = (1 - share) * hair[before].astype(np.float32) + share * hair[after]
    return window_to_frame(window / np.float32(255), work.hair_boxes[index], work.settings.size)


def torso(work: Workspace) -> dict[str, Scalar]:
    """Find the torso's own pose in every frame."""
    track, labels = work.done_track, work.array("labels")
    seen = np.flatnonzero(track.valid)
    chosen = seen[spread_evenly(len(seen), SAMPLE_FRAMES)]
    region = torso_motion.reliable_region(
        (labels[index] == SemanticClass.TORSO for index in chosen),
        lowest_chin=float(np.percentile(track.landmarks[:, CHIN, 1], 98)),
    )
    done = iter(range(1, work.frames + 1))
    motion = torso_motion.align_torso(
        work.array("frames"),
        region,
        work.reference_frame,
        on_frame=lambda: work.progress("torso", next(done), work.frames),
    )
    pose = track.poses[work.reference_frame]
    if motion is None:
        work.warn(
            "the torso cannot be aligned from frame to frame; its pose follows the head's by half"
        )
        work.torso_poses = torso_motion.unseen_torso_poses(track.poses, work.reference_frame)
    else:
        work.torso_poses = torso_motion.torso_poses(
            motion, pose, depth=_torso_depth(work), intrinsics=work.intrinsics
        )
    work.writer.write_array("torso_poses", work.torso_poses)
    correlation = 0.0 if motion is None else float(motion.correlation.mean())
    return {"mean_correlation": round(correlation, 4)}


def _torso_depth(work: Workspace) -> float:
    """Depth of the torso in the reference frame, cm."""
    track = work.done_track
    to_camera = invert_rigid(track.poses[work.reference_frame])
    chin = to_camera[:3, :3] @ track.rest[CHIN] + to_camera[:3, 3]
    return float(chin[2]) + torso_motion.BEHIND_CHIN_CM


def speech(work: Workspace) -> dict[str, Scalar]:
    """Read the sound and compute what the portrait will listen to."""
    work.progress("speech", 0, 1)
    work.has_speech = work.info.has_sound
    if not work.has_speech:
        work.warn(f"{work.video.name} has no sound; train its clip with --speech FILE")
    else:
        waveform = work.waveform
        seconds = (len(waveform) / SPEECH_SAMPLE_RATE_HZ, work.frames / work.frame_rate_hz)
        if abs(seconds[0] - seconds[1]) > SOUND_TOLERANCE_S:
            work.warn(f"the sound lasts {seconds[0]:.1f} s and the picture {seconds[1]:.1f} s")
        work.writer.write_speech(waveform)
        for name in work.settings.features:
            features = log_mel(waveform)
            work.writer.write_feature(name, features)
            work.features[name] = SpeechFeature(rate_hz=LOG_MEL_RATE_HZ, dim=features.shape[1])
    work.progress("speech", 1, 1)
    return {"features": ",".join(work.settings.features)}


def preview(work: Workspace) -> dict[str, Scalar]:
    """Write the film of what was seen."""
    track, torso_poses = work.done_track, work.torso_poses
    assert torso_poses is not None, "torso has not run"  # noqa: S101
    side = preview_side(work.settings.size)
    chin = track.rest[CHIN]
    anchors = np.stack((track.rest[1], chin + np.array([0.0, -7.0, -torso_motion.BEHIND_CHIN_CM])))
    waveform = None
    if work.has_speech:
        waveform = read_waveform(work.writer.partial / "speech.wav", SPEECH_SAMPLE_RATE_HZ)
    frames, labels = work.array("frames"), work.array("labels")
    with FilmWriter(
        work.writer.partial / "preview.mp4",
        width=side, height=side, frame_rate_hz=work.frame_rate_hz,
        waveform=waveform, sample_rate_hz=SPEECH_SAMPLE_RATE_HZ,
    ) as film:  # fmt: skip
        for index in range(work.frames):
            seen = PreviewFrame(
                frames[index], labels[index], track.landmarks[index], track.poses[index],
                torso_poses[index], bool(track.valid[index]),
            )  # fmt: skip
            film.write(draw_preview(seen, intrinsics=work.intrinsics, anchors=anchors))
            work.release(index)
            work.progress("preview", index + 1, work.frames)
    return {"side": side}
