"""Portraits to measure: untrained or loaded, of any size, or a strip of their picture."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from sspnerf.config import PRESETS, TrainConfig
from sspnerf.data.clip import Clip
from sspnerf.data.dataset import ClipDataset
from sspnerf.data.manifest import Camera
from sspnerf.errors import PortraitError
from sspnerf.fields.head_and_torso import HeadAndTorso
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.ops.backend import field_dtype
from sspnerf.render.film import speak
from sspnerf.render.portrait import Portrait, load_portrait
from sspnerf.train.learner import PortraitLearner
from sspnerf.train.snapshot import Speech
from sspnerf.train.trainer import fit_to_clip

# What untrained portraits take the clip's sound for, dBFS: its loudness costs nothing.
LEVEL_DB = -20.0


def learner_of(clip: Clip, config: TrainConfig) -> PortraitLearner:
    """Begin to learn a clip.

    Raises:
        ClipError: If the clip has no features of the kind that the settings ask for.
    """
    kind = config.speech_feature
    features = np.array(clip.feature(kind))
    told = clip.manifest.features[kind]
    heard = Speech(features, told.rate_hz, LEVEL_DB, told)
    return PortraitLearner(fit_to_clip(config, clip), ClipDataset(clip), heard)


def untrained(clip: Clip, preset: str, config: TrainConfig | None = None) -> Portrait:
    """Make a portrait that has learned nothing, with all its parts switched on."""
    learner = learner_of(clip, config or PRESETS[preset])
    if isinstance(learner.driven, HeadAndTorso):
        learner.driven.rest_head()
    return learner.portrait(1.0)


def portrait_of(clip: Clip, run: Path | None, config: TrainConfig | None = None) -> Portrait:
    """Load a trained portrait of the clip, or make an untrained one of preset `fast`.

    Raises:
        PortraitError: If the run is of another clip.
    """
    if run is None:
        return untrained(clip, "fast", config)
    portrait = load_portrait(run)
    have, want = portrait.frames, clip.manifest.frames
    if have != want:
        raise PortraitError(
            f"{run} is of a clip of {have} frames; {clip.path} has {want}",
            "give the clip that it was trained on",
        )
    return portrait


def with_camera(portrait: Portrait, camera: Intrinsics, background: torch.Tensor) -> Portrait:
    """Show the same portrait by another camera, over another plate, [0, 1]."""
    info = portrait.info.model_copy(
        update={
            "width": camera.width,
            "height": camera.height,
            "camera": Camera(fx=camera.fx, fy=camera.fy, cx=camera.cx, cy=camera.cy),
        }
    )
    arrays = {
        "background": (background * 255).round().to(torch.uint8).contiguous(),
        "poses": portrait.poses,
        "torso_poses": portrait.torso_poses,
        "blendshapes": portrait.blendshapes,
        "person_map": portrait.person_map,
    }
    for name, tensor in portrait.torso_follower.tensors().items():
        arrays[f"torso_follower.{name}"] = tensor
    return Portrait(info, portrait.driven, arrays)


def resized(portrait: Portrait, size: int) -> Portrait:
    """Let a portrait be rendered at another size; as fine as before, only more rays."""
    if (portrait.info.width, portrait.info.height) == (size, size):
        return portrait
    plate = torch.nn.functional.interpolate(
        portrait.background.permute(2, 0, 1)[None], size=(size, size), mode="area"
    )
    camera = portrait.info.intrinsics.scaled(size, size)
    return with_camera(portrait, camera, plate[0].permute(1, 2, 0))


def strip(portrait: Portrait, rows: int) -> Portrait:
    """Let only some rows be rendered, through the middle of the picture."""
    info = portrait.info
    first = (info.height - rows) // 2
    camera = info.intrinsics.cropped(0, first, width=info.width, height=rows)
    return with_camera(portrait, camera, portrait.background[first : first + rows])


def with_samples(portrait: Portrait, samples: int) -> Portrait:
    """Ask the field as often as this along each ray; for portraits of preset `fast`."""
    driven = copy.deepcopy(portrait.driven)
    config = driven.config
    driven.config = replace(config, band=replace(config.band, samples=samples))
    other = with_camera(portrait, portrait.info.intrinsics, portrait.background)
    other.driven = driven
    return other


def sound(clip: Clip, seconds: float) -> NDArray[np.float32]:
    """Return the clip's sound, repeated or cut; a hum if it has none. Shape (samples,)."""
    samples = max(1, round(seconds * SPEECH_SAMPLE_RATE_HZ))
    if clip.manifest.has_speech:
        return np.resize(clip.speech(), samples)
    time_s = np.arange(samples, dtype=np.float32) / SPEECH_SAMPLE_RATE_HZ
    return (0.1 * np.sin(2 * np.pi * 180 * time_s)).astype(np.float32)


def pictures(portrait: Portrait, waveform: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """Render picture after picture, each when it is asked for, with all threads."""
    return speak(portrait, waveform).pictures(jobs=1)


@contextlib.contextmanager
def float32_fields() -> Iterator[None]:
    """Let fields calculate in float32, as on a machine that is not good at bfloat16."""
    with (
        mock.patch.object(torch.cpu, "_is_avx512_bf16_supported", create=True, return_value=False),
        mock.patch.object(torch.cuda, "is_bf16_supported", return_value=False),
    ):
        field_dtype.cache_clear()
        try:
            yield
        finally:
            field_dtype.cache_clear()
