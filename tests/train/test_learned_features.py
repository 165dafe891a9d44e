"""Portraits that listen to other features than log-mel: trained, evaluated, speaking anew."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import tiny_speaker
from sspnerf.cli import main
from sspnerf.config import PRESETS, FieldConfig
from sspnerf.data.clip import open_clip
from sspnerf.data.feature_file import read_feature_file
from sspnerf.data.speech_features import FeatureSource, compute_features
from sspnerf.errors import PortraitError, SspnerfError, UsageError
from sspnerf.evaluate.held_out import evaluate
from sspnerf.media.audio import write_waveform
from sspnerf.media.speech import match_level
from sspnerf.render.film import speak
from sspnerf.render.portrait import load_portrait
from sspnerf.train.trainer import resume, train
from tiny_speech_models import HIDDEN, save_model

SMALL = dataclasses.replace(
    PRESETS["fast"],
    steps=6,
    rays_per_step=256,
    frames_per_step=2,
    field=FieldConfig(resolutions=(8, 16), features=2, hidden=16),
)
# 12 frames are 0.48 s: 24 rows at 50 Hz.
ROWS = np.random.default_rng(5).normal(size=(24, 29)).astype(np.float32)


def windows(rows):
    padded = np.pad(rows, ((8, 8), (0, 0)))
    return np.stack([padded[start : start + 16] for start in range(0, len(rows), 2)])


def with_features(clip, path, kind, features, told):
    """Copy a clip and give it one more kind of features."""
    shutil.copytree(clip.path, path)
    np.save(path / "features" / f"{kind}.npy", features)
    manifest = json.loads((path / "clip.json").read_text())
    manifest["features"][kind] = told.model_dump()
    (path / "clip.json").write_text(json.dumps(manifest))
    return open_clip(path)


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("hubert") / "model", "hubert")


@pytest.fixture(scope="module")
def heard(tiny_clip, hubert, tmp_path_factory):
    """A clip with HuBERT's features, and a run that was trained with them."""
    folder = tmp_path_factory.mktemp("heard")
    features, told = compute_features(tiny_clip.speech(), FeatureSource("hubert", str(hubert), 2))
    clip = with_features(tiny_clip, folder / "clip", "hubert", features, told)
    config = dataclasses.replace(SMALL, speech_feature="hubert")
    return clip, train(clip.path, folder / "run", config)


def test_the_portrait_remembers_what_it_listens_to(heard, hubert):
    clip, run = heard
    info = load_portrait(run).info
    assert (info.speech_feature, info.speech_rate_hz, info.feature_dim) == ("hubert", 50.0, HIDDEN)
    assert info.heard == clip.manifest.features["hubert"]
    assert (info.speech_model, info.speech_layer) == (str(hubert), 2)


def test_it_hears_a_new_recording_with_the_same_network(heard):
    portrait = load_portrait(heard[1])
    sound = np.random.default_rng(0).normal(size=16000).astype(np.float32) / 9
    film = speak(portrait, sound)
    source = FeatureSource("hubert", portrait.info.speech_model, 2)
    expected, _ = compute_features(match_level(sound, portrait.info.speech_level_db), source)
    found = np.concatenate(list(film._hearing.features()))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert len(list(film)) == 25


def test_its_held_out_frames_are_measured(heard):
    scores = evaluate(heard[1])
    assert scores.frames == 2
    assert scores.psnr > 5


def test_a_recording_beside_the_clip_is_heard_by_the_clip_s_network(heard, tmp_path):
    clip, _ = heard
    write_waveform(tmp_path / "take.wav", tiny_speaker.waveform())
    config = dataclasses.replace(SMALL, speech_feature="hubert", steps=1)
    run = train(clip.path, tmp_path / "run", config, speech=tmp_path / "take.wav")
    assert load_portrait(run).info.heard == clip.manifest.features["hubert"]


def test_features_that_the_user_brings(tiny_clip, tmp_path, capsys):
    np.save(tmp_path / "aud.npy", windows(ROWS))
    features, told = read_feature_file(tmp_path / "aud.npy", seconds=0.48, rate_hz=25.0)
    clip = with_features(tiny_clip, tmp_path / "clip", "npy", features, told)
    run = train(clip.path, tmp_path / "run", dataclasses.replace(SMALL, speech_feature="npy"))
    new, sound = np.tile(ROWS, (2, 1)), np.tile(tiny_speaker.waveform(), 2)
    np.save(tmp_path / "new.npy", windows(new))
    film = speak(load_portrait(run), sound, feature_file=tmp_path / "new.npy")
    np.testing.assert_array_equal(np.concatenate(list(film._hearing.features())), new)
    write_waveform(tmp_path / "new.wav", sound)
    command = ["render", run, tmp_path / "new.wav", tmp_path / "film.mp4"]
    for more, code in (([], 2), (["--feature-file", tmp_path / "new.npy"], 0)):
        with pytest.raises(SystemExit) as stop:
            main([*map(str, command), *map(str, more)])
        assert stop.value.code == code
    assert "--feature-file" in capsys.readouterr().err
    assert (tmp_path / "film.mp4").is_file()


@pytest.mark.refuses
def test_another_network_under_the_same_name_is_refused(heard, tmp_path):
    clip, run = heard
    portrait = load_portrait(run)
    other = save_model(tmp_path / "other", "hubert", seed=9)
    told = {"speech_model": str(other)}
    portrait.info = portrait.info.model_copy(update=told)
    with pytest.raises(PortraitError, match=r"hubert features have weights .* was trained with"):
        speak(portrait, tiny_speaker.waveform())
    gone = {"speech_model": str(tmp_path / "gone")}
    portrait.info = portrait.info.model_copy(update=gone)
    with pytest.raises(SspnerfError, match=r"there is no folder .*gone"):
        speak(portrait, tiny_speaker.waveform())
    features, changed = compute_features(clip.speech(), FeatureSource("hubert", str(other), 3))
    prepared = with_features(clip, tmp_path / "clip", "hubert", features, changed)
    with pytest.raises(PortraitError, match="have layer 3; the portrait was trained with 2"):
        evaluate(run, clip=prepared.path)
    with pytest.raises(PortraitError, match="have layer 3"):
        resume(prepared.path, run)


@pytest.mark.refuses
def test_a_recording_beside_the_clip_has_no_brought_features(tiny_clip, tmp_path):
    write_waveform(tmp_path / "take.wav", tiny_speaker.waveform())
    config = dataclasses.replace(SMALL, speech_feature="npy")
    with pytest.raises(UsageError, match="npy features cannot be computed from a recording"):
        train(tiny_clip.path, tmp_path / "run", config, speech=tmp_path / "take.wav")
