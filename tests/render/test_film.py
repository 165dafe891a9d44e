"""Films: how long, in which order, one frame at a time, with sound."""

import itertools
import threading
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny_speaker
from sspnerf.errors import MediaError, UsageError
from sspnerf.media.audio import read_waveform, write_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.speech import log_mel
from sspnerf.media.video import probe_video, read_frames
from sspnerf.render.film import Film, speak, there_and_back
from sspnerf.render.show import Show, depth_range, show
from sspnerf.render.workers import MOST_WAITING


@pytest.fixture
def rendered(portrait, monkeypatch):
    """Count what is rendered: which frames of the clip."""
    asked, render = [], portrait.render_color

    def counting(speech, *, clip_frame, **poses):
        asked.append(clip_frame)
        return render(speech, clip_frame=clip_frame, **poses)

    monkeypatch.setattr(portrait, "render_color", counting)
    return asked


@given(st.integers(1, 40))
def test_walking_there_and_back_never_jumps_and_repeats(frames):
    walk = [there_and_back(i, frames) for i in range(5 * frames)]
    assert walk[:frames] == list(range(frames))
    assert all(0 <= frame < frames for frame in walk)
    if frames > 1:
        assert all(abs(a - b) == 1 for a, b in itertools.pairwise(walk))
        period = 2 * frames - 2
        assert walk[period:] == walk[: len(walk) - period]


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (319, 1), (640, 1), (961, 2), (7680, 12), (16000, 25)]
)
def test_a_film_lasts_as_long_as_the_speech(portrait, samples, frames):
    film = Film(portrait, np.full(samples, 0.1, np.float32))
    assert film.frames == len(film) == max(1, round(samples / 16000 * 25)) == frames


def test_frames_are_rendered_one_by_one_as_they_are_wanted(portrait, rendered):
    film = speak(portrait, tiny_speaker.waveform())
    frames = film.pictures(jobs=1)
    assert rendered == []
    first = next(frames)
    assert rendered == [0]
    next(frames)
    assert rendered == [0, 1]
    assert (first.shape, first.dtype) == ((48, 48, 3), np.uint8)


def test_a_long_film_is_rendered_only_a_little_ahead(portrait, rendered):
    film = speak(portrait, np.resize(tiny_speaker.waveform(), 600 * 16000))
    frames = film.pictures(jobs=2)
    for _ in range(5):
        next(frames)
    frames.close()
    assert len(film) == 15000
    assert len(rendered) <= 5 + 2 + MOST_WAITING


@pytest.mark.parametrize("jobs", [2, 3])
def test_the_same_pictures_come_from_any_number_of_jobs(portrait, jobs):
    film = speak(portrait, np.tile(tiny_speaker.waveform(), 2)[: 20 * 640])
    for ours, theirs in zip(film.pictures(jobs=jobs), film.pictures(jobs=1), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(film.render(jobs=jobs), film.render(jobs=1), strict=True):
        for part, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(part, expected)


def test_pictures_are_the_colors_of_the_frames(portrait):
    film = speak(portrait, tiny_speaker.waveform())
    for picture, again, frame in zip(film.pictures(), film, film.render(), strict=True):
        np.testing.assert_array_equal(picture, frame.color)
        np.testing.assert_array_equal(again, frame.color)


def test_an_error_of_a_worker_is_the_films_and_leaves_nothing(portrait, monkeypatch, tmp_path):
    honest = portrait.render_color

    def render(speech, *, clip_frame, **poses):
        if clip_frame == 5:
            raise MediaError("frame 5 cannot be rendered")
        return honest(speech, clip_frame=clip_frame, **poses)

    monkeypatch.setattr(portrait, "render_color", render)
    with pytest.raises(MediaError, match="frame 5 cannot be rendered"):
        speak(portrait, tiny_speaker.waveform()).save(tmp_path / "film.mp4", jobs=2)
    assert list(tmp_path.iterdir()) == []
    assert not any(thread.name.startswith("sspnerf-") for thread in threading.enumerate())


def test_an_error_of_the_writer_is_the_films_and_leaves_nothing(portrait, monkeypatch, tmp_path):
    def write(self, frame):
        raise MediaError("the disk is full")

    monkeypatch.setattr(FilmWriter, "write", write)
    with pytest.raises(MediaError, match="the disk is full"):
        speak(portrait, np.tile(tiny_speaker.waveform(), 5)).save(tmp_path / "film.mp4", jobs=2)
    assert list(tmp_path.iterdir()) == []
    assert not any(thread.name.startswith("sspnerf-") for thread in threading.enumerate())


def test_a_film_longer_than_the_clip_walks_its_poses_back(portrait, rendered):
    film = speak(portrait, np.tile(tiny_speaker.waveform(), 2)[: 16 * 640])
    assert len(list(film.pictures(jobs=1))) == 16
    assert rendered == [*range(12), 10, 9, 8, 7]


def test_a_film_does_not_play_across_a_cut(portrait, rendered, monkeypatch):
    monkeypatch.setattr(portrait, "info", portrait.info.model_copy(update={"cuts": (3, 9)}))
    film = speak(portrait, np.tile(tiny_speaker.waveform(), 2)[: 13 * 640])
    walk = [3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 4, 5]
    assert len(list(film.pictures(jobs=1))) == 13
    assert rendered == walk
    assert torch.equal(film.poses, portrait.poses[walk])
    assert torch.equal(film.torso_poses, portrait.torso_poses[walk])


def test_a_film_shows_the_poses_of_its_clip(portrait):
    film = speak(portrait, np.tile(tiny_speaker.waveform(), 2)[: 16 * 640])
    walk = [*range(12), 10, 9, 8, 7]
    assert torch.equal(film.poses, portrait.poses[walk])
    assert torch.equal(film.torso_poses, portrait.torso_poses[walk])
    followed = speak(portrait, tiny_speaker.waveform(), torso="follow")
    assert torch.equal(followed.poses, portrait.poses)
    predicted = portrait.torso_follower.predict(portrait.poses, frame_rate_hz=25.0)
    assert torch.equal(followed.torso_poses, predicted)


def test_given_poses_are_shown_and_the_torso_follows_them(portrait, monkeypatch):
    poses = portrait.poses[[2, 5, 4]]
    film = speak(portrait, tiny_speaker.waveform()[: 5 * 640], poses=poses.numpy())
    there_and_back_again = poses[[0, 1, 2, 1, 0]]
    assert torch.equal(film.poses, there_and_back_again)
    predicted = portrait.torso_follower.predict(there_and_back_again, frame_rate_hz=25.0)
    assert torch.equal(film.torso_poses, predicted)
    shown = []
    monkeypatch.setattr(portrait, "render_frame", lambda speech, **asked: shown.append(asked))
    for _ in film.render(jobs=1):
        pass
    assert [asked["clip_frame"] for asked in shown] == [0, 1, 2, 3, 4]
    assert torch.equal(torch.stack([asked["pose"] for asked in shown]), film.poses)
    assert torch.equal(torch.stack([asked["torso_pose"] for asked in shown]), predicted)


def changed_pose(change):
    poses = np.tile(np.eye(4), (3, 1, 1))
    change(poses[1])
    return poses


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (np.eye(4), r"the poses have shape \(4, 4\); expected \(frames, 4, 4\)"),
        (np.zeros((0, 4, 4)), r"the poses have shape \(0, 4, 4\)"),
        (np.zeros((2, 3, 4)), r"the poses have shape \(2, 3, 4\)"),
        (np.zeros((1, 4, 4), int), "the poses are int64; expected floats"),
        (changed_pose(lambda pose: pose.__setitem__((0, 3), np.nan)), "pose 1 is not finite"),
        (changed_pose(lambda pose: pose.__imul__(2)), "pose 1 is not a rotation and a shift"),
        (changed_pose(lambda pose: pose[:3].__imul__(-1)), "pose 1 is not a rotation"),
        (changed_pose(lambda pose: pose[3].__iadd__(1)), "pose 1 is not a rotation"),
    ],
)
def test_poses_that_are_no_rigid_transforms_are_refused(portrait, poses, message):
    with pytest.raises(UsageError, match=message):
        speak(portrait, tiny_speaker.waveform(), poses=poses)


@pytest.mark.refuses
def test_the_torso_of_the_clip_is_refused_for_other_poses(portrait):
    with pytest.raises(UsageError, match="does not fit other head poses"):
        speak(portrait, tiny_speaker.waveform(), poses=np.eye(4)[None], torso="tracked")


def test_a_saved_film_shows_what_was_asked_for(portrait, tmp_path):
    film = speak(portrait, tiny_speaker.waveform()[:640])
    frame, depth = next(film.render()), depth_range(film.poses)
    drawn = {
        what: show(frame, what=what, intrinsics=portrait.info.intrinsics, depth=depth).astype(int)
        for what in get_args(Show)
    }
    for asked in drawn:
        film.save(tmp_path / "film.mp4", show=asked)
        ((_, seen),) = read_frames(tmp_path / "film.mp4")
        # H.264 keeps color at half size and smears edges; another map is much further away.
        apart = {what: np.abs(seen - picture).mean() for what, picture in drawn.items()}
        nearest, second = sorted(apart, key=apart.__getitem__)[:2]
        assert nearest == asked
        assert apart[nearest] < apart[second] / 2


def test_arrays_hold_each_frame_as_it_was_rendered(portrait, tmp_path):
    film = speak(portrait, tiny_speaker.waveform()[: 3 * 640])
    film.save(tmp_path / "film.mp4", arrays=tmp_path / "arrays")
    names = sorted(path.name for path in (tmp_path / "arrays").iterdir())
    assert names == ["000000.npz", "000001.npz", "000002.npz"]
    for name, frame in zip(names, film.render(), strict=True):
        with np.load(tmp_path / "arrays" / name) as kept:
            assert sorted(kept) == ["accumulation", "color", "distance", "labels"]
            for part, value in frame._asdict().items():
                np.testing.assert_array_equal(kept[part], value)


def test_a_quiet_recording_drives_the_portrait_like_a_loud_one(portrait, monkeypatch):
    heard = []
    monkeypatch.setattr(portrait, "render_color", lambda speech, **shown: heard.append(speech))
    for sound in (tiny_speaker.waveform(), 0.1 * tiny_speaker.waveform()):
        next(speak(portrait, sound).pictures(jobs=1))
    heard.append(portrait.hear(log_mel(0.1 * tiny_speaker.waveform()), np.zeros(1, int))[0])
    loud, quiet, unmatched = heard
    torch.testing.assert_close(quiet, loud, rtol=0, atol=1e-4)
    assert (unmatched - loud).abs().max() > 1e-2


def test_a_saved_film_has_all_frames_and_the_sound(portrait, tmp_path):
    sound, seen = tiny_speaker.waveform(), []
    path = speak(portrait, sound).save(
        tmp_path / "film.mp4", progress=lambda done, total: seen.append((done, total))
    )
    info = probe_video(path)
    assert (info.width, info.height, info.has_sound) == (48, 48, True)
    assert info.frame_rate_hz == pytest.approx(25.0)
    assert info.duration_s == pytest.approx(0.48, abs=0.001)
    assert seen == [(i, 12) for i in range(1, 13)]
    heard = read_waveform(path, sample_rate_hz=16000)
    assert len(heard) == pytest.approx(len(sound), abs=1024)
    shared = min(len(heard), len(sound))
    # AAC keeps the waveform's shape, not its samples.
    assert np.corrcoef(heard[:shared], sound[:shared])[0, 1] > 0.95
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_that_breaks_leaves_nothing(portrait, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        speak(portrait, tiny_speaker.waveform()).save(
            tmp_path / "film.mp4", arrays=tmp_path / "arrays", jobs=2, progress=stop
        )
    assert list(tmp_path.iterdir()) == []
    assert not any(thread.name.startswith("sspnerf-") for thread in threading.enumerate())


def test_a_sound_file_is_spoken_like_its_waveform(portrait, tmp_path):
    sound = tiny_speaker.waveform()
    write_waveform(tmp_path / "speech.wav", sound)
    for speech in (tmp_path / "speech.wav", str(tmp_path / "speech.wav")):
        film = speak(portrait, speech)
        np.testing.assert_allclose(film.waveform, sound, atol=1 / 32768)
        assert film.frames == 12


@pytest.mark.refuses
def test_no_speech_is_refused(portrait, tmp_path):
    with pytest.raises(MediaError, match="the speech is empty"):
        speak(portrait, np.zeros(0, np.float32))
    with pytest.raises(MediaError, match=r"missing\.wav"):
        speak(portrait, tmp_path / "missing.wav")
