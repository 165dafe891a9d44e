"""Bad and odd input, as the table in docs/prepare.md lists it: refused in one line, or prepared."""

import errno
import os
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from prepare.odd_videos import RATE, Sound, shorten, tone, write_video
from sspnerf.cli import main
from sspnerf.config import PrepareConfig
from sspnerf.data import clip_writer
from sspnerf.errors import MediaError
from sspnerf.media.video import resampled_frames
from sspnerf.prepare.pipeline import prepare

FRAMES = 8
SIZE = 48


@pytest.fixture(scope="module", autouse=True)
def models(models_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSPNERF_MODELS", str(models_folder))
        yield


@pytest.fixture(scope="module")
def woman(clips_folder):
    """Pictures of a talking head. Shape (FRAMES, 256, 256, 3)."""
    pictures = islice(resampled_frames(clips_folder / "en_8s.mp4", 25.0), FRAMES)
    return np.stack([picture.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)) for picture in pictures])


@pytest.fixture(scope="module")
def woman_pictures(woman):
    return np.round(woman).astype(np.uint8)


@pytest.fixture(scope="module")
def man_pictures(clips_folder):
    pictures = islice(resampled_frames(clips_folder / "fr_50s.mp4", 30.0), FRAMES)
    small = [picture.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)) for picture in pictures]
    return np.round(np.stack(small)).astype(np.uint8)


def prepared(video, tmp_path, **settings):
    """Prepare; the clip, and what was warned of."""
    warnings = []
    settings = PrepareConfig(size=SIZE, **settings)
    return prepare(video, tmp_path / "clip", settings, warn=warnings.append), warnings


def said(video, tmp_path, capsys):
    """Run the command; its exit status and what it said about the error, line by line."""
    with pytest.raises(SystemExit) as caught:
        main(["prepare", str(video), str(tmp_path / "clip"), "--size", str(SIZE)])
    lines = capsys.readouterr().err.splitlines()
    return caught.value.code, [line for line in lines if not line.startswith("prepare: ")]


# --- refused, in one line and a hint, and nothing is left ----------------------------------------


def audio_only(path, _):
    return write_video(path / "sound.mp4", [], sound=Sound(tone(1)))


def truncated(path, pictures):
    return shorten(write_video(path / "cut.mp4", pictures), 0.6)


def zero_length(path, _):
    (path / "zero.mp4").touch()
    return path / "zero.mp4"


def wrong_container(path, _):
    (path / "letter.mp4").write_text("Dear reader, this is no video. " * 50)
    return path / "letter.mp4"


def photo(path, pictures):
    from PIL import Image

    Image.fromarray(pictures[0]).save(path / "photo.png")
    return path / "photo.png"


def folder(path, _):
    (path / "folder.mp4").mkdir()
    return path / "folder.mp4"


def nothing(path, _):
    return path / "nothing.mp4"


def no_face(path, pictures):
    return write_video(path / "wall.mp4", np.full_like(pictures, 120))


def not_finite(path, pictures):
    sound = Sound(np.full((1, 5120), np.nan, np.float32), codec="pcm_f32le")
    return write_video(path / "nan.mov", pictures, sound=sound)


def stamps_that_jump(path, pictures):
    stamps = [*range(0, 160, 40), *range(100_000, 100_160, 40)]
    return write_video(path / "jump.mkv", pictures, stamps=stamps, time_base=Fraction(1, 1000))


def profile(path, pictures):
    """Of a face that is turned away the landmarker says nothing; here only half of it is left."""
    half = pictures.copy()
    half[:, :, 100:] = 0
    return write_video(path / "half.mp4", half)


REFUSED = {
    audio_only: "sound.mp4 holds no moving picture; expected a video",
    truncated: "cut.mp4 is cut off",
    zero_length: "zero.mp4 is empty; expected a video or sound file",
    wrong_container: "letter.mp4 is not a video or sound file that can be read",
    photo: "photo.png holds no moving picture; expected a video",
    folder: "folder.mp4 is a folder; expected a video or sound file",
    nothing: "nothing.mp4 cannot be read: No such file or directory",
    no_face: "wall.mp4 shows no face in any of",
    not_finite: "nan.mov is not finite at 0.000 s; expected samples in [-1, 1]",
    stamps_that_jump: "jump.mkv jumps by 100 s",
    profile: "half.mp4 shows no face in any of",
}


@pytest.mark.refuses
@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_refused_in_one_line_and_nothing_is_left(make, woman_pictures, tmp_path, capsys):
    video = make(tmp_path, woman_pictures)
    there = set(tmp_path.iterdir())
    code, lines = said(video, tmp_path, capsys)
    assert code == 1
    assert lines[0].startswith("error: ")
    assert REFUSED[make] in lines[0]
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2
    assert set(tmp_path.iterdir()) == there


@pytest.mark.refuses
def test_a_full_disk_is_told_and_what_is_done_is_kept(
    woman_pictures, tmp_path, capsys, monkeypatch
):
    video = write_video(tmp_path / "a.mp4", woman_pictures)
    reserve = os.posix_fallocate

    def full(file, start, size):
        if size > SIZE * SIZE * 3 * FRAMES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(file, start, size)

    monkeypatch.setattr(clip_writer.os, "posix_fallocate", full)
    code, lines = said(video, tmp_path, capsys)
    assert code == 1
    assert "frames.npy: No space left on device" in lines[0]
    assert not (tmp_path / "clip").exists()
    monkeypatch.undo()
    monkeypatch.setenv("SSPNERF_MODELS", os.environ["SSPNERF_MODELS"])
    stages = []
    prepare(
        video, tmp_path / "clip", PrepareConfig(size=SIZE),
        progress=lambda stage, now, total: stages.append((stage, now, total)),
    )  # fmt: skip
    assert stages[0] == ("decode", 1, 1), "decoding is not repeated"


@pytest.mark.refuses
@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_named(woman_pictures, tmp_path, capsys):
    video = write_video(tmp_path / "a.mp4", woman_pictures)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    code, lines = said(video, locked, capsys)
    assert code == 1
    assert f"cannot read or write {locked}" in lines[0]
    assert "Permission denied" in lines[0]


@pytest.mark.refuses
def test_a_folder_that_refuses_is_named(woman_pictures, tmp_path, capsys):
    """As above for those who are root: a file stands where a folder is needed."""
    video = write_video(tmp_path / "a.mp4", woman_pictures)
    (tmp_path / "file").touch()
    code, lines = said(video, tmp_path / "file", capsys)
    assert code == 1
    assert "cannot read or write" in lines[0]
    assert "Not a directory" in lines[0]


# --- prepared ------------------------------------------------------------------------------------


def plain(path, pictures):
    return write_video(path / "plain.mp4", pictures, sound=Sound(tone(FRAMES / RATE)))


def video_only(path, pictures):
    return write_video(path / "silent.mp4", pictures)


def one_frame(path, pictures):
    return write_video(path / "one.mp4", pictures[:1])


def sound_8khz(path, pictures):
    return write_video(path / "phone.mp4", pictures, sound=Sound(tone(FRAMES / RATE, 8000), 8000))


def sound_surround(path, pictures):
    sound = Sound(tone(FRAMES / RATE, 48000, 6), 48000, "5.1")
    return write_video(path / "cinema.mp4", pictures, sound=sound)


def silence(path, pictures):
    return write_video(path / "quiet.mp4", pictures, sound=Sound(np.zeros((1, 5120), np.float32)))


def rotated(path, pictures):
    # The file holds the pictures lying on their side, and says how to turn them.
    lying = np.rot90(pictures, axes=(1, 2))
    return write_video(path / "phone.mp4", lying, rotation=-90)


def odd_size(path, pictures):
    wide = np.pad(pictures[:, :233], ((0, 0), (0, 0), (60, 55), (0, 0)), mode="edge")
    assert wide.shape[1:3] == (233, 371)
    return write_video(path / "odd.mkv", wide, codec="ffv1", pix_fmt="bgr0")


def ten_bit(path, pictures):
    return write_video(path / "ten.mp4", pictures, pix_fmt="yuv420p10le")


def grayscale(path, pictures):
    return write_video(path / "gray.mp4", pictures, pix_fmt="gray")


def alpha(path, pictures):
    opaque = np.full((*pictures.shape[:3], 1), 255, np.uint8)
    with_alpha = np.concatenate((pictures, opaque), axis=-1)
    return write_video(path / "alpha.mov", with_alpha, codec="prores_ks", pix_fmt="yuva444p10le")


def interlaced(path, pictures):
    options = {"flags": "+ilme+ildct", "top": "1", "b": "8M"}
    return write_video(path / "tv.mpg", pictures, codec="mpeg2video", options=options)


def mirrored(path, pictures):
    turned = np.ascontiguousarray(pictures[:, ::-1, ::-1])
    return write_video(path / "upside.mp4", turned, rotation=180)


def webm(path, pictures):
    return write_video(path / "web.webm", pictures, codec="libvpx-vp9")


def oblong_pixels(path, pictures):
    squeezed = np.ascontiguousarray(pictures[:, :, ::2])
    return write_video(path / "dv.mp4", squeezed, aspect=Fraction(2))


def truncated_mkv(path, pictures):
    video = write_video(path / "cut.mkv", np.concatenate([pictures] * 8), options={"g": "4"})
    return shorten(video, 0.6)


def stamps_that_go_back(path, pictures):
    part = write_video(path / "part.ts", pictures[:4], options={"bf": "0"}).read_bytes()
    (path / "part.ts").unlink()
    (path / "two.ts").write_bytes(part + part)
    return path / "two.ts"


PREPARED = (
    plain, video_only, one_frame, sound_8khz, sound_surround, silence, rotated, odd_size, ten_bit,
    grayscale, alpha, interlaced, stamps_that_go_back, mirrored, webm, oblong_pixels,
    truncated_mkv,
)  # fmt: skip


@pytest.mark.parametrize("make", PREPARED, ids=lambda make: make.__name__)
def test_prepared_as_if_it_were_plain(make, woman_pictures, tmp_path):
    clip, warnings = prepared(make(tmp_path, woman_pictures), tmp_path)
    frames = 1 if make is one_frame else FRAMES
    if make is truncated_mkv:
        assert FRAMES < clip.manifest.frames < 8 * FRAMES
        assert any("may be cut off" in line for line in warnings)
    else:
        assert clip.manifest.frames == frames
    assert clip.valid.all()
    assert clip.manifest.has_speech == (make in (plain, sound_8khz, sound_surround, silence))
    # The face is upright and where it was: eyes above the mouth, right eye left of the left one.
    eyes, mouth = clip.landmarks[0, [33, 263], :2], clip.landmarks[0, 13, :2]
    assert eyes[0, 0] < mouth[0] < eyes[1, 0]
    assert eyes[:, 1].max() < mouth[1]
    if make in (plain, sound_8khz, sound_surround):
        loud = np.abs(clip.speech()).max()
        assert 0.05 < loud < 0.6
    if make is video_only:
        assert any("has no sound" in line for line in warnings)


def test_a_varying_frame_rate_is_kept_in_step(woman_pictures, tmp_path):
    stamps = [0, 40, 120, 160, 200, 320, 360, 400]
    video = write_video(
        tmp_path / "varying.mkv", woman_pictures, stamps=stamps, time_base=Fraction(1, 1000)
    )
    clip, _ = prepared(video, tmp_path, frame_rate_hz=25.0)
    # A picture stays for as long as the next one takes: 11 frames in 0.44 s.
    assert clip.manifest.frames == 11
    np.testing.assert_array_equal(clip.frames[2], clip.frames[1])
    assert (clip.frames[3] != clip.frames[2]).any()


def test_a_face_in_half_of_the_frames_is_invalid_in_the_others(woman_pictures, tmp_path):
    pictures = np.concatenate((woman_pictures, np.full_like(woman_pictures, 90)))
    clip, warnings = prepared(write_video(tmp_path / "away.mp4", pictures), tmp_path)
    assert clip.valid[:FRAMES].all()
    assert not clip.valid[FRAMES + 1 :].any()
    assert np.isfinite(clip.poses).all()
    assert np.isfinite(clip.landmarks).all()
    assert any("no face in" in line for line in warnings)


def test_of_two_faces_one_is_followed_and_it_is_said_which(woman_pictures, man_pictures, tmp_path):
    small = woman_pictures[:, ::2, ::2]
    both = np.full((FRAMES, 256, 384, 3), 128, np.uint8)
    both[:, :, :256] = man_pictures
    both[:, 64:192, 256:] = small
    clip, warnings = prepared(write_video(tmp_path / "two.mp4", both), tmp_path)
    assert clip.manifest.crop[0] < 100, "the larger face"
    found = clip.manifest.stages["decode"].found
    assert found["faces"] == 2
    assert any("2 faces" in line for line in warnings)


def test_a_crop_chooses_among_faces(woman_pictures, man_pictures, tmp_path):
    both = np.full((FRAMES, 256, 512, 3), 128, np.uint8)
    both[:, :, :256], both[:, :, 256:] = man_pictures, woman_pictures
    video = write_video(tmp_path / "two.mp4", both)
    clip, _ = prepared(video, tmp_path, crop=(256, 0, 512, 256))
    assert clip.manifest.crop == (256, 0, 512, 256)
    assert clip.manifest.source_size == (512, 256)
    assert clip.valid.all()
    alone, _ = prepared(write_video(tmp_path / "one.mp4", woman_pictures), tmp_path / "alone")
    assert np.abs(clip.landmarks[0, :, :2] - alone.landmarks[0, :, :2]).mean() < 1
    with pytest.raises(MediaError, match="shows no face in its crop"):
        prepared(video, tmp_path / "none", crop=(224, 0, 288, 64))


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280)])
def test_head_and_shoulders_are_cut_out_of_any_aspect(woman_pictures, tmp_path, size):
    width, height = (side // 2 for side in size)
    wide = np.full((FRAMES, height, width, 3), 120, np.uint8)
    x, y = (width - 256) // 2, (height - 256) // 3
    wide[:, y : y + 256, x : x + 256] = woman_pictures
    clip, _ = prepared(write_video(tmp_path / "wide.mp4", wide), tmp_path)
    x0, y0, x1, y1 = clip.manifest.crop
    assert x1 - x0 == y1 - y0
    assert x0 <= x + 64
    assert x1 >= x + 192
    assert clip.manifest.source_size == (width, height)
    assert clip.valid.all()


def test_a_face_at_the_border_is_tracked(woman_pictures, tmp_path):
    pictures = np.full_like(woman_pictures, 100)
    pictures[:, :, :180] = woman_pictures[:, :, 76:]
    clip, _ = prepared(write_video(tmp_path / "border.mp4", pictures), tmp_path)
    assert clip.valid.all()
    assert clip.landmarks[0, 33, 0] < 0.3 * SIZE


def test_a_cut_is_found_and_keeps_the_pieces_apart(woman_pictures, man_pictures, tmp_path):
    pictures = np.concatenate((woman_pictures, man_pictures))
    clip, _ = prepared(write_video(tmp_path / "cut.mp4", pictures), tmp_path)
    assert clip.manifest.cuts == (FRAMES,)
    assert [len(piece) for piece in clip.manifest.pieces] == [FRAMES, FRAMES]
