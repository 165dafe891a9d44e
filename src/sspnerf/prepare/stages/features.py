"""Stage `features`: what the portrait will listen to."""

import hashlib
from pathlib import Path

import numpy as np

from sspnerf.config import PrepareConfig
from sspnerf.data.manifest import SpeechFeature
from sspnerf.data.speech_features import clip_features
from sspnerf.media.audio import read_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.prepare.found import Features, Sound, Take
from sspnerf.prepare.workspace import Scalar, Stage, Workspace


def run(work: Workspace) -> Features:
    """Compute each kind of speech features that was asked for."""
    take, has_speech = work.found(Take), work.found(Sound).has_speech
    work.progress("features", 0, 1)
    work.writer.remove_features()
    waveform = np.zeros(0, np.float32)
    if has_speech:
        waveform = read_waveform(work.writer.partial / "speech.wav", SPEECH_SAMPLE_RATE_HZ)
    made: dict[str, SpeechFeature] = {}
    for name in work.settings.features:
        # Features that the user brings need no sound.
        if has_speech or name == "npy":
            features, made[name] = clip_features(
                name,
                waveform,
                work.settings,
                frames=take.frames,
                frame_rate_hz=take.frame_rate_hz,
                progress=lambda done, of: work.progress("features", done, of),
            )
            work.note_left(f"features/{name}.npy")
            work.writer.write_feature(name, features)
    work.progress("features", 1, 1)
    return Features(features=made)


def _settings(settings: PrepareConfig) -> dict[str, Scalar]:
    brought = None
    if settings.feature_file is not None:
        content = Path(settings.feature_file).read_bytes()
        brought = hashlib.sha256(content).hexdigest()
    return {
        "features": ",".join(settings.features),
        "speech_model": settings.speech_model,
        "speech_layer": settings.speech_layer,
        "feature_file": brought,
        "feature_rate_hz": settings.feature_rate_hz,
    }


STAGE = Stage(run=run, found=Features, needs=("decode", "speech"), settings=_settings)
