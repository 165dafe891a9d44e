"""The synthetic clip as a whole: complete, repeatable, in time with its sound."""

import dataclasses

import numpy as np
import pytest

from sspnerf.config import SynthConfig
from sspnerf.data.clip import open_clip
from sspnerf.errors import UsageError
from sspnerf.media.audio import read_waveform
from sspnerf.media.video import read_frames
from sspnerf.synth.writer import write_synthetic_clip

TINY = SynthConfig(size=16, seconds=0.4, text="Papa.")


def loudness(waveform, frames):
    return np.sqrt(np.square(waveform[: frames * 640].reshape(frames, 640)).mean(axis=1))


def test_opens_as_a_clip(clip, settings):
    opened = open_clip(clip.path)
    assert opened.manifest.frames == 45
    assert opened.manifest.landmark_scheme == "mesh"
    assert opened.manifest.licence == "synthetic, no person"
    assert opened.manifest.stages["synth"].settings == dataclasses.asdict(settings)
    assert opened.valid.all()
    assert opened.feature("logmel").shape[1] == opened.manifest.features["logmel"].dim


def test_head_and_torso_agree_in_the_reference_frame_only(clip):
    apart = np.abs(np.asarray(clip.poses) - np.asarray(clip.torso_poses)).max(axis=(1, 2))
    assert apart[clip.manifest.reference_frame] == 0
    assert np.delete(apart, clip.manifest.reference_frame).min() > 1e-4


def test_the_torso_moves_less_than_the_head(clip):
    head, torso = (np.asarray(poses)[:, :3, :3] for poses in (clip.poses, clip.torso_poses))
    assert head.std(axis=0).max() > 2 * torso.std(axis=0).max()


def test_the_wall_is_the_plate_wherever_nobody_stands(clip):
    empty = np.asarray(clip.mask).max(axis=0) == 0
    assert empty.sum() > 100
    for i in (0, 44):
        np.testing.assert_array_equal(clip.frames[i][empty], clip.background[empty])


def test_the_mask_covers_what_the_labels_call_person(clip):
    person = (np.asarray(clip.labels) != 0).mean()
    assert abs(np.asarray(clip.mask).mean() / 255 - person) < 0.005


def test_the_mouth_opens_with_the_voice(clip):
    loud = loudness(clip.speech(), clip.manifest.frames)
    opening = clip.truth("mouth")[:, 0]
    aligned = np.corrcoef(loud, opening)[0, 1]
    assert aligned > 0.4
    assert aligned > max(np.corrcoef(np.roll(loud, s), opening)[0, 1] for s in (-12, 12)) + 0.2


def test_blendshapes_open_the_jaw_with_the_mouth(clip):
    np.testing.assert_allclose(
        clip.blendshapes[:, 25], np.clip(clip.truth("mouth")[:, 0] / 1.8, 0, 1), atol=1e-6
    )


def test_the_film_has_every_frame_and_the_sound(clip):
    film = [frame for _, frame in read_frames(clip.path / "video.mp4")]
    assert len(film) == 45
    # H.264 moves this picture by 3.5 grey values on average; another frame is 7 away.
    assert np.abs(film[20].astype(float) - clip.frames[20]).mean() < 5
    heard, said = read_waveform(clip.path / "video.mp4"), clip.speech()
    length = min(len(heard), len(said))
    assert abs(len(heard) - len(said)) < 1600
    assert np.corrcoef(heard[:length], said[:length])[0, 1] > 0.9


def test_the_same_seed_gives_the_same_clip_and_another_another(tmp_path):
    first, again, other = (
        write_synthetic_clip(tmp_path / name, dataclasses.replace(TINY, seed=seed))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    for name in ("frames", "labels", "mask", "poses", "torso_poses", "landmarks", "blendshapes"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert np.array_equal(first.speech(), again.speech())
    assert not np.array_equal(first.poses, other.poses)
    assert not np.array_equal(first.frames, other.frames)


def test_reports_each_frame(tmp_path):
    seen = []
    write_synthetic_clip(tmp_path / "clip", TINY, progress=lambda *step: seen.append(step))
    assert seen == [(i + 1, 10) for i in range(10)]


@pytest.mark.refuses
def test_refuses_to_replace_a_clip_unasked(tmp_path):
    write_synthetic_clip(tmp_path / "clip", TINY)
    with pytest.raises(UsageError, match="exists already"):
        write_synthetic_clip(tmp_path / "clip", TINY)
    write_synthetic_clip(tmp_path / "clip", TINY, overwrite=True)


@pytest.mark.refuses
def test_leaves_nothing_behind_where_it_cannot_speak(tmp_path):
    with pytest.raises(UsageError, match="no voice named 'nobody'"):
        write_synthetic_clip(tmp_path / "clip", dataclasses.replace(TINY, voice="nobody"))
    assert list(tmp_path.iterdir()) == []
