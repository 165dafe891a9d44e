"""Every kind of speech features, and how it is computed: docs/speech.md.

logmel                       from the sound itself (`media.speech`)
wav2vec2, hubert, whisper    a layer of a published network (`perception.speech_models`)
npy                          brought by the user (`data.feature_file`)
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sspnerf.config import PrepareConfig
from sspnerf.config.clips import LEARNED_FEATURES
from sspnerf.data.feature_file import read_feature_file
from sspnerf.data.manifest import SpeechFeature
from sspnerf.errors import MediaError, PortraitError, UsageError
from sspnerf.media.feature_stream import Blocks, BlockStream, FeatureStream, hear_whole
from sspnerf.media.speech import (
    LOG_MEL_DIM,
    LOG_MEL_RATE_HZ,
    SPEECH_SAMPLE_RATE_HZ,
    LogMelStream,
)

# Feature j is given out once sample 160 j + 279 has arrived.
LOG_MEL_LATENCY_S = 280 / SPEECH_SAMPLE_RATE_HZ


class FeatureSource(NamedTuple):
    """What computes speech features from a recording."""

    kind: str = "logmel"
    """`logmel`, `wav2vec2`, `hubert` or `whisper`."""
    model: str = ""
    """Folder or name of the network; empty: the published one."""
    layer: int | None = None
    """Layer whose output is heard; None: the kind's own choice."""


class OpenStream(NamedTuple):
    """A stream, and what comes out of it."""

    stream: FeatureStream
    told: SpeechFeature
    latency_s: float
    """Longest time from the start of a feature's interval until it is given out, seconds."""


def open_stream(source: FeatureSource) -> OpenStream:
    """Start to listen to a recording that arrives in pieces of any length.

    Raises:
        UsageError: If these features cannot be computed from sound, the extra `speech` is not
            installed, or the network or its layer is not what it should be.
        SspnerfError: If the network cannot be had.
    """
    if source.kind == "logmel":
        told = SpeechFeature(rate_hz=LOG_MEL_RATE_HZ, dim=LOG_MEL_DIM)
        return OpenStream(LogMelStream(), told, LOG_MEL_LATENCY_S)
    if source.kind not in LEARNED_FEATURES:
        raise UsageError(
            f"{source.kind} features cannot be computed from a recording",
            "prepare and render take a file of them: --feature-file FILE.npy",
        )
    # Torch's networks are not needed, nor loaded, for log-mel features.
    from sspnerf.perception.speech_models import load_speech_model

    model = load_speech_model(source.kind, source.model or None, layer=source.layer)
    blocks = Blocks(hop=model.hop, kept=model.kept, context=model.context)
    told = SpeechFeature(
        rate_hz=SPEECH_SAMPLE_RATE_HZ / model.hop,
        dim=model.dim,
        model=model.name,
        layer=model.layer,
        weights=model.weights,
    )
    return OpenStream(BlockStream(model.hear, dim=model.dim, blocks=blocks), told, blocks.latency_s)


def compute_features(
    waveform: NDArray[np.floating],
    source: FeatureSource,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], SpeechFeature]:
    """Compute the features of a whole recording; the same that a stream of it gives.

    Args:
        waveform: Mono sound in [-1, 1] at 16 kHz. Shape (samples,), at least one.
        source: What computes them.
        progress: Called with samples done and samples in all.

    Returns:
        Features (feature_frames, dim) with feature_frames = ceil(samples * rate / 16000), and what
        is needed to compute the same for another recording.

    Raises:
        MediaError: If the waveform is empty, not one-dimensional, or a sample is not finite.
        UsageError, SspnerfError: See `open_stream`.
    """
    if not len(waveform):
        raise MediaError("the speech is empty", "give a recording that holds sound")
    stream, told, _ = open_stream(source)
    return hear_whole(stream, waveform, progress=progress), told


def clip_features(
    kind: str,
    waveform: NDArray[np.floating],
    settings: PrepareConfig,
    *,
    frames: int,
    frame_rate_hz: float,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], SpeechFeature]:
    """Compute or read one kind of a clip's features, as `sspnerf prepare` was asked to.

    Args:
        kind: One of `settings.features`.
        waveform: The clip's sound at 16 kHz. Shape (samples,). Not heard for `npy`.
        settings: Which network, layer or file.
        frames: Length of the clip.
        frame_rate_hz: Frames per second of the clip.
        progress: Called with samples done and samples in all.

    Returns:
        Features (feature_frames, dim), and what the manifest says of them.

    Raises:
        MediaError, UsageError, SspnerfError: See `compute_features` and `read_feature_file`.
    """
    if kind == "npy":
        return read_feature_file(
            Path(settings.feature_file or ""),
            seconds=frames / frame_rate_hz,
            rate_hz=settings.feature_rate_hz or frame_rate_hz,
        )
    source = FeatureSource(kind)
    if kind in LEARNED_FEATURES:
        source = FeatureSource(kind, settings.speech_model or "", settings.speech_layer)
    return compute_features(waveform, source, progress=progress)


def check_can_hear(settings: PrepareConfig) -> None:
    """Refuse at once what would stop `prepare` after minutes of work.

    Networks are loaded, and downloaded where they are not yet in the cache. A file of features is
    only looked for: how long it must be is not known yet.

    Raises:
        UsageError, SspnerfError: See `open_stream` and `read_feature_file`.
    """
    for kind in settings.features:
        if kind in LEARNED_FEATURES:
            open_stream(FeatureSource(kind, settings.speech_model or "", settings.speech_layer))
        elif kind == "npy" and not Path(settings.feature_file or "").is_file():
            raise UsageError(f"{settings.feature_file} does not exist", "see docs/speech.md")


def check_same_features(kind: str, told: SpeechFeature, expected: SpeechFeature) -> None:
    """Refuse features that only share their name with those of a training.

    Where the network lies now may differ, its weights may not.

    Args:
        kind: What both are called.
        told: The features that are there.
        expected: The features of the training.

    Raises:
        PortraitError: Naming what differs.
    """
    for name in ("rate_hz", "dim", "layer", "weights"):
        have, want = getattr(told, name), getattr(expected, name)
        if have != want:
            raise PortraitError(
                f"these {kind} features have {name} {have}; the portrait was trained with {want}",
                f"make them as in the training: {expected.model or 'see docs/speech.md'}",
            )
