"""Kinds of features: each the same in pieces and as a whole, and told so that it comes back."""

import numpy as np
import pytest

from sspnerf.config import PrepareConfig
from sspnerf.data.manifest import SpeechFeature
from sspnerf.data.speech_features import (
    FeatureSource,
    check_can_hear,
    clip_features,
    compute_features,
    open_stream,
)
from sspnerf.errors import MediaError, SspnerfError, UsageError
from sspnerf.media.speech import log_mel
from tiny_speech_models import HIDDEN, save_model

KINDS = ("wav2vec2", "hubert", "whisper")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("networks")
    return {kind: str(save_model(root / kind, kind)) for kind in KINDS}


def noise(samples, *, seed=0):
    wave = np.random.default_rng(seed).normal(size=samples) * np.sin(np.arange(samples) / 9000)
    return (0.1 * wave).astype(np.float32)


def source(kind, folders):
    return FeatureSource(kind, folders.get(kind, ""))


@pytest.mark.parametrize("kind", ["logmel", *KINDS])
def test_a_stream_in_pieces_equals_the_whole(kind, folders):
    """To the last bit: both compute the same blocks from the same samples."""
    waveform = noise(16000 * 13 + 1234)
    whole, told = compute_features(waveform, source(kind, folders))
    assert whole.shape == (-(-len(waveform) * told.rate_hz // 16000), told.dim)
    for lengths in ([1, 0, 319, 16000, 320, 95_999, 3], [12_345] * 17):
        stream = open_stream(source(kind, folders)).stream
        pieces = np.split(waveform, np.cumsum(lengths))
        parts = [*map(stream.push, pieces), stream.finish()]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_later_changes_nothing_before(kind, folders):
    """Features stand after the context has passed, however long the recording goes on."""
    waveform = noise(16000 * 16)
    stream, _, latency_s = open_stream(source(kind, folders))
    early = stream.push(waveform[: 16000 * 13])
    whole, _ = compute_features(waveform, source(kind, folders))
    assert len(early) >= 50 * (13 - latency_s)
    np.testing.assert_array_equal(early, whole[: len(early)])


@pytest.mark.parametrize(
    ("kind", "latency_s"),
    [("logmel", 0.0175), ("wav2vec2", 6.0), ("hubert", 6.0), ("whisper", (68 + 16) / 50)],
)
def test_the_latency_that_is_stated_holds(kind, latency_s, folders):
    stream, told, stated = open_stream(source(kind, folders))
    assert stated == pytest.approx(latency_s)
    given_out, waveform = 0, noise(16000 * 14)
    for heard in range(160, len(waveform), 160):
        given_out += len(stream.push(waveform[heard - 160 : heard]))
        # The interval of every feature not given out yet began within the latency.
        assert given_out / told.rate_hz > heard / 16000 - latency_s - 1e-9


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_short_recordings_are_heard_too(kind, samples, folders):
    features, _ = compute_features(noise(samples), source(kind, folders))
    assert features.shape == (-(-samples // 320), HIDDEN)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("kind", KINDS)
def test_silence_is_heard_as_numbers(kind, folders):
    features, _ = compute_features(np.zeros(16000, np.float32), source(kind, folders))
    assert np.isfinite(features).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_tells_how_to_compute_them_again(kind, folders):
    asked = FeatureSource(kind, folders[kind], 1)
    first, told = compute_features(noise(9000), asked)
    assert (told.rate_hz, told.dim, told.model, told.layer) == (50.0, HIDDEN, folders[kind], 1)
    again, _ = compute_features(noise(9000), FeatureSource(kind, told.model, told.layer))
    np.testing.assert_array_equal(again, first)
    assert SpeechFeature.model_validate_json(told.model_dump_json()) == told


def test_log_mel_features_are_as_ever():
    features, told = compute_features(noise(50_000), FeatureSource())
    np.testing.assert_array_equal(features, log_mel(noise(50_000)))
    assert told == SpeechFeature(rate_hz=100.0, dim=80)


def test_prepare_s_settings_reach_the_kind_they_are_for(folders, tmp_path):
    np.save(tmp_path / "aud.npy", np.ones((25, 16, 29), np.float32))
    settings = PrepareConfig(
        features=("logmel", "hubert", "npy"),
        speech_model=folders["hubert"],
        speech_layer=2,
        feature_file=str(tmp_path / "aud.npy"),
    )
    check_can_hear(settings)
    waveform, seen = noise(16000), []
    told = {
        kind: clip_features(
            kind, waveform, settings, frames=25, frame_rate_hz=25.0,
            progress=lambda *done: seen.append(done),
        )[1]
        for kind in settings.features
    }  # fmt: skip
    assert told["logmel"] == SpeechFeature(rate_hz=100.0, dim=80)
    assert (told["hubert"].model, told["hubert"].layer) == (folders["hubert"], 2)
    # Windows that are all the same could be moved on by any step: by one.
    assert told["npy"] == SpeechFeature(rate_hz=25.0, dim=29)
    assert seen == [(16000, 16000)] * 2
    rated = PrepareConfig(
        features=("npy",), feature_file=str(tmp_path / "aud.npy"), feature_rate_hz=12.5
    )
    _, rated_told = clip_features("npy", waveform, rated, frames=50, frame_rate_hz=25.0)
    assert rated_told.rate_hz == 12.5


@pytest.mark.refuses
def test_what_cannot_be_heard_is_refused(folders, tmp_path):
    with pytest.raises(UsageError, match="npy features cannot be computed") as caught:
        compute_features(noise(100), FeatureSource("npy"))
    assert "--feature-file" in caught.value.hint
    with pytest.raises(UsageError, match="deepspeech features cannot be computed"):
        open_stream(FeatureSource("deepspeech"))
    with pytest.raises(MediaError, match="the speech is empty"):
        compute_features(noise(0), source("hubert", folders))
    with pytest.raises(MediaError, match="not finite"):
        compute_features(np.full(9000, np.inf, np.float32), source("hubert", folders))
    missing = str(tmp_path / "none")
    for settings in (
        PrepareConfig(features=("hubert",), speech_model=missing),
        PrepareConfig(features=("npy",), feature_file=missing),
    ):
        with pytest.raises(SspnerfError, match=missing):
            check_can_hear(settings)
