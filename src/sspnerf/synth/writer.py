"""Write the synthetic speaker as a clip, with everything that only it knows exactly."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from sspnerf.config import SynthConfig
from sspnerf.data.clip import Clip
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import Camera, ClipManifest, SpeechFeature, StageRecord
from sspnerf.geometry.cameras import project_points
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.speech import LOG_MEL_RATE_HZ, SPEECH_SAMPLE_RATE_HZ, log_mel
from sspnerf.synth.scene import (
    Performance,
    background_plate,
    perform,
    render_frame,
    rest_mesh,
    synthetic_camera,
)
from sspnerf.synth.visemes import REST_VISEME, VISEMES
from sspnerf.synth.voice import Phoneme, Speech, speak_for

FILM_NAME = "video.mp4"
LICENCE = "synthetic, no person"
# Shapes at which a blendshape has reached 1.
FULL_OPENING_CM = 1.8
FULL_WIDTH_CM = 0.6
FULL_GAZE_CM = 0.35
BLENDSHAPES = 52
# Places of the weights in MediaPipe's order. Left is the person's left, which is at +x.
BROW_INNER_UP, BROW_OUTER_UP_LEFT, BROW_OUTER_UP_RIGHT = 3, 4, 5
EYE_BLINK_LEFT, EYE_BLINK_RIGHT = 9, 10
EYE_LOOK_DOWN, EYE_LOOK_UP = (11, 12), (17, 18)
EYE_LOOK_IN_LEFT, EYE_LOOK_IN_RIGHT, EYE_LOOK_OUT_LEFT, EYE_LOOK_OUT_RIGHT = 13, 14, 15, 16
JAW_OPEN, MOUTH_FUNNEL, MOUTH_PUCKER = 25, 32, 38
MOUTH_LOWER_DOWN, MOUTH_STRETCH, MOUTH_UPPER_UP = (34, 35), (46, 47), (48, 49)
PHONEME_TYPE = np.dtype([("symbol", "U8"), ("start_s", "f8"), ("end_s", "f8")])


def write_synthetic_clip(
    path: Path,
    settings: SynthConfig,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Clip:
    """Let the synthetic speaker speak, and write what a camera sees as a clip.

    The same settings give the same clip, byte for byte but for the film's encoding. Memory does not
    grow with the length.

    Args:
        path: The clip's folder.
        settings: What is said, how long, how large.
        overwrite: Whether a clip there may be replaced.
        progress: Called with (frames done, frames) after each frame.

    Returns:
        The clip, opened; `clip.truth(NAME)` holds distance, canonical, eye_openness, mouth and
        phonemes (docs/synth.md).

    Raises:
        UsageError: If the clip exists and may not be replaced, or the text cannot be spoken.
    """
    with ClipWriter(path, overwrite=overwrite) as writer:
        speech = speak_for(
            settings.seconds, text=settings.text, voice=settings.voice, seed=settings.seed
        )
        performance = perform(speech, settings)
        camera = synthetic_camera(settings.size)
        writer.write_background(background_plate(camera))
        mesh = rest_mesh()
        writer.write_mesh(mesh)
        _write_pictures(writer, camera, performance, settings.frame_rate_hz, speech, progress)
        writer.write_array("landmarks", project_mesh(camera, performance.poses, mesh))
        _write_performance(writer, performance)
        writer.write_truth("phonemes", phoneme_table(speech.phonemes))
        writer.write_speech(speech.waveform)
        features = log_mel(speech.waveform)
        writer.write_feature("logmel", features)
        return writer.commit(_manifest(settings, camera, performance, features.shape[1]))


def _write_pictures(
    writer: ClipWriter, camera: Intrinsics, performance: Performance, frame_rate_hz: float,
    speech: Speech, progress: Callable[[int, int], None] | None,
) -> None:  # fmt: skip
    """Render frame by frame into memory maps, and into a film with sound."""
    frames, size = performance.frames, (camera.height, camera.width)
    (writer.partial / "truth").mkdir(exist_ok=True)
    pictures = writer.create_array("frames", (frames, *size, 3))
    labels = writer.create_array("labels", (frames, *size))
    masks = writer.create_array("mask", (frames, *size))
    distances = _create_truth(writer, "distance", (frames, *size), np.float32)
    canonical = _create_truth(writer, "canonical", (frames, *size, 3), np.float32)

    def render(i: int) -> None:
        # Each frame is its own slice: threads do not meet. The tracer runs without Python's lock.
        picture = render_frame(camera, performance, i)
        pictures[i], labels[i], masks[i] = picture.frame, picture.labels, picture.mask
        distances[i], canonical[i] = picture.distance, picture.canonical

    film = FilmWriter(
        writer.partial / FILM_NAME, width=camera.width, height=camera.height,
        frame_rate_hz=frame_rate_hz, waveform=speech.waveform,
        sample_rate_hz=SPEECH_SAMPLE_RATE_HZ,
    )  # fmt: skip
    with film, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for i, _ in enumerate(pool.map(render, range(frames))):
                film.write(np.asarray(pictures[i]))
                if progress is not None:
                    progress(i + 1, frames)
        finally:
            # After an error or Ctrl-C, do not render the rest of the take first.
            pool.shutdown(cancel_futures=True)


def _write_performance(writer: ClipWriter, performance: Performance) -> None:
    """Write what has one row per frame and is known before rendering."""
    writer.write_array("poses", performance.poses)
    writer.write_array("torso_poses", performance.torso_poses)
    writer.write_array("blendshapes", blendshapes(performance))
    writer.write_array("valid", np.ones(performance.frames, bool))
    writer.write_truth("eye_openness", performance.eye_openness.astype(np.float32))
    writer.write_truth("mouth", performance.mouth.astype(np.float32))


def _create_truth(
    writer: ClipWriter, name: str, shape: tuple[int, ...], dtype: DTypeLike
) -> np.memmap[Any, Any]:
    return np.lib.format.open_memmap(
        writer.partial / "truth" / f"{name}.npy", mode="w+", dtype=np.dtype(dtype), shape=shape
    )


def project_mesh(
    camera: Intrinsics, poses: NDArray[np.float64], mesh: FaceMesh
) -> NDArray[np.float32]:
    """Track the rest mesh: where its vertices appear in each frame.

    Returns:
        x, y in px, and depth behind the head's origin scaled like x at the origin's depth, px-like.
        Shape (frames, vertices, 3).
    """
    vertices = torch.from_numpy(mesh.vertices.astype(np.float64)).expand(len(poses), -1, -1)
    cameras = torch.from_numpy(poses)[:, None]
    pixels = project_points(camera, cameras, vertices)
    forward, origin = cameras[..., :3, 2], cameras[..., :3, 3]
    head_depth = -(forward * origin).sum(dim=-1)
    behind = (forward * (vertices - origin)).sum(dim=-1) - head_depth
    depth = camera.fx * behind / head_depth
    return torch.cat([pixels, depth[..., None]], dim=-1).numpy().astype(np.float32)


def blendshapes(performance: Performance) -> NDArray[np.float32]:
    """Say the performance in MediaPipe's 52 blendshapes, as far as the scene has them.

    Returns:
        Weights in [0, 1], MediaPipe's order. Shape (frames, 52).
    """
    rest = VISEMES[REST_VISEME]
    opening, half_width, protrusion, _ = performance.mouth.T
    right, up = (performance.gaze / FULL_GAZE_CM).T
    open_share = opening / FULL_OPENING_CM
    weights = np.zeros((performance.frames, BLENDSHAPES))
    columns: dict[int | tuple[int, ...], NDArray[np.float64]] = {
        BROW_INNER_UP: performance.brow_raise,
        (BROW_OUTER_UP_LEFT, BROW_OUTER_UP_RIGHT): performance.brow_raise,
        (EYE_BLINK_LEFT, EYE_BLINK_RIGHT): 1 - performance.eye_openness,
        EYE_LOOK_DOWN: -up,
        EYE_LOOK_UP: up,
        (EYE_LOOK_OUT_LEFT, EYE_LOOK_IN_RIGHT): right,
        (EYE_LOOK_IN_LEFT, EYE_LOOK_OUT_RIGHT): -right,
        JAW_OPEN: open_share,
        MOUTH_FUNNEL: protrusion * open_share,
        MOUTH_PUCKER: protrusion * (1 - open_share),
        MOUTH_STRETCH: (half_width - rest.half_width) / FULL_WIDTH_CM,
        MOUTH_LOWER_DOWN: open_share,
        MOUTH_UPPER_UP: 0.4 * open_share,
    }
    for places, values in columns.items():
        for place in places if isinstance(places, tuple) else (places,):
            weights[:, place] = np.clip(values, 0, 1)
    return weights.astype(np.float32)


def phoneme_table(phonemes: tuple[Phoneme, ...]) -> NDArray[np.void]:
    """List phonemes as an array with the fields symbol, start_s, end_s."""
    rows = [(phoneme.symbol, phoneme.start_s, phoneme.end_s) for phoneme in phonemes]
    return np.array(rows, dtype=PHONEME_TYPE)


def _manifest(
    settings: SynthConfig, camera: Intrinsics, performance: Performance, feature_dim: int
) -> ClipManifest:
    values = dataclasses.asdict(settings)
    return ClipManifest(
        source="synthetic",
        frame_rate_hz=settings.frame_rate_hz,
        frames=performance.frames,
        width=camera.width,
        height=camera.height,
        camera=Camera(fx=camera.fx, fy=camera.fy, cx=camera.cx, cy=camera.cy),
        landmark_scheme="mesh",
        reference_frame=performance.reference_frame,
        has_speech=True,
        features={"logmel": SpeechFeature(rate_hz=LOG_MEL_RATE_HZ, dim=feature_dim)},
        stages={
            "synth": StageRecord(
                settings=values, input_hash=hashlib.sha256(repr(values).encode()).hexdigest()
            )
        },
        licence=LICENCE,
    )
