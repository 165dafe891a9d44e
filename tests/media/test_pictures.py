"""Pictures as they are stored: interlaced, of pixels that are no squares, one by one."""

from fractions import Fraction

import av
import numpy as np
import pytest

from sspnerf.media.video import probe_video, read_frames, read_pictures, resampled_frames


def write(path, pictures, *, codec="libx264", aspect=None, options=None):
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def bar(first, second):
    """Upper field with a bar at one place, lower field with it at another."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[0::2, first : first + 16] = 255
    picture[1::2, second : second + 16] = 255
    return picture


def test_interlaced_pictures_lose_their_combs_and_keep_their_times(tmp_path):
    pictures = [bar(8 * i, 8 * i + 4) for i in range(10)]
    options = {"flags": "+ilme+ildct", "top": "1", "b": "4M"}
    path = write(tmp_path / "tv.mpg", pictures, codec="mpeg2video", options=options)
    times, shown = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-3)
    assert len(shown) == 10
    for index in range(2, 8):
        comb = np.abs(np.diff(shown[index][8:56].astype(int), axis=0)).mean()
        assert comb < 4, "neighbouring rows agree"
        assert shown[index][32, 8 * index + 8, 0] > 200, "the upper field's bar stays"


def test_pixels_become_square_and_nothing_is_lost(tmp_path):
    picture = np.zeros((48, 60, 3), np.uint8)
    picture[:, 30:] = 255
    wide = write(tmp_path / "wide.mp4", [picture] * 2, aspect=Fraction(4, 3))
    tall = write(tmp_path / "tall.mp4", [picture] * 2, aspect=Fraction(3, 4))
    assert (probe_video(wide).width, probe_video(wide).height) == (80, 48)
    assert (probe_video(tall).width, probe_video(tall).height) == (60, 64)
    for path, edge in ((wide, 40), (tall, 30)):
        row = next(read_frames(path))[1][24, :, 0]
        assert row[edge - 4] < 40
        assert row[edge + 4] > 215


@pytest.mark.parametrize("first", [0, 1, 7, 9])
def test_reading_from_a_frame_on_gives_the_rest_of_the_whole(tmp_path, first):
    path = write(tmp_path / "a.mp4", [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(10)])
    whole = list(resampled_frames(path, 30.0))
    rest = list(resampled_frames(path, 30.0, first=first))
    assert len(whole) == 12
    np.testing.assert_array_equal(rest, whole[first:])


def test_a_thumbnail_is_the_picture_made_small(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:24] = (250, 20, 20)
    seen = next(read_pictures(write(tmp_path / "a.mp4", [picture])))
    small = seen.thumbnail(32)
    assert small.shape == (16, 32, 3)
    expected = seen.pixels().reshape(16, 3, 32, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small, expected, atol=6)


def test_two_recordings_in_one_file_follow_each_other(tmp_path):
    pictures = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(10)]
    part = write(tmp_path / "part.ts", pictures, options={"bf": "0"}).read_bytes()
    (tmp_path / "both.ts").write_bytes(part + part)
    times, shown = zip(*read_frames(tmp_path / "both.ts"), strict=True)
    assert len(times) == 20
    np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)
    np.testing.assert_allclose(
        [p.mean() for p in shown[10:]], [p.mean() for p in shown[:10]], atol=3
    )


def test_a_file_that_is_cut_off_claims_more_than_it_holds(tmp_path):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (64, 96, 3)).astype(np.uint8) for _ in range(40)]
    path = write(tmp_path / "a.mkv", pictures, options={"g": "5"})
    assert probe_video(path).declared_s == pytest.approx(1.6, abs=0.05)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    info = probe_video(path)
    assert info.declared_s == pytest.approx(1.6, abs=0.05)
    assert info.duration_s < 1.0
