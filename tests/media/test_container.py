"""Files that are missing, cut off, broken or of another kind are refused in one clear line."""

import av
import numpy as np
import pytest
from av.stream import Disposition

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.container import check_target, picture_start_s
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.video import probe_video, read_frames


def write_film(path, frames):
    """A film with its index in front of the data."""
    with FilmWriter(path, width=64, height=48, frame_rate_hz=25) as film:
        for index in range(frames):
            film.write(np.full((48, 64, 3), 20 + index, np.uint8))
    return path


def write_plain(path, frames):
    """A film with its index behind the data, as cameras write it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            pixels = np.full((48, 64, 3), 20 + index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def both(path):
    """Each way in must refuse alike."""
    for function in (probe_video, lambda p: next(read_frames(p))):
        with pytest.raises(MediaError) as caught:
            function(path)
        assert caught.value.hint
        yield str(caught.value)


@pytest.mark.refuses
def test_refuses_what_is_not_there(tmp_path):
    for message in both(tmp_path / "none.mp4"):
        assert message.endswith("No such file or directory; expected a video or sound file")
    for message in both(tmp_path):
        assert "is a folder; expected a video" in message


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.mp4", b"", "is empty; expected a video"),
        ("a.mp4", b"hello world\n" * 50, "is not a video or sound file"),
        ("a.txt", b"hello world\n" * 50, "holds no moving picture; expected a video"),
    ],
)
def test_refuses_what_is_no_video(tmp_path, name, data, expected):
    path = tmp_path / name
    path.write_bytes(data)
    for message in both(path):
        assert expected in message


@pytest.mark.refuses
def test_refuses_a_photo(tmp_path):
    path = tmp_path / "photo.mp4"
    av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24").save(
        str(tmp_path / "photo.png")
    )
    (tmp_path / "photo.png").rename(path)
    for message in both(path):
        assert "holds no moving picture" in message


@pytest.mark.refuses
def test_refuses_a_film_cut_off_in_its_data_and_says_where(tmp_path):
    data = write_film(tmp_path / "a.mp4", 100).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) * 8 // 10])
    for message in both(path):
        assert "is cut off: its video ends at" in message
        assert message.endswith("s of 3.96 s")


@pytest.mark.refuses
@pytest.mark.parametrize("lost", [1, 600, 900])
def test_refuses_a_film_without_its_whole_index(tmp_path, lost):
    path = write_plain(tmp_path / "a.mp4", 10)
    path.write_bytes(path.read_bytes()[:-lost])
    for message in both(path):
        assert message.endswith("a.mp4 is cut off: the index of this MP4 is missing")


@pytest.mark.refuses
def test_names_the_time_at_which_a_film_breaks(tmp_path):
    path = write_film(tmp_path / "a.mp4", 100)
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[80]
        first, size = entry.pos, entry.size  # entries must not outlive their container
    data = bytearray(path.read_bytes())
    # A block length beyond the packet, which no decoder can pass over.
    data[first : first + size] = b"\xff" * size
    path.write_bytes(data)
    read = []
    with pytest.raises(MediaError, match=r"a\.mp4 breaks at [0-3]\.\d\d s: ") as caught:
        read.extend(time_s for time_s, _ in read_frames(path))
    assert 1.5 < read[-1] < 3.3
    assert f"{read[-1]:.2f} s" in str(caught.value)


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_film("take2:final.mp4", 3)
    assert len(list(read_frames("take2:final.mp4"))) == 3


def test_pictures_without_time_stamps_are_counted(tmp_path):
    path = write_plain(tmp_path / "a.h264", 6)
    times, pictures = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(times, np.arange(6) / 25, atol=1e-9)
    np.testing.assert_allclose([p.mean() for p in pictures], 20 + np.arange(6), atol=1.5)
    assert probe_video(path).duration_s == pytest.approx(6 / 25)


@pytest.mark.refuses
def test_the_cover_of_a_song_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        sound.codec_context.layout = "mono"
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = Disposition.attached_pic
        pixels = np.zeros((32, 32, 3), np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        block.sample_rate = 16000
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    for message in both(path):
        assert "holds no moving picture" in message
    assert picture_start_s(path) is None


def test_a_sound_file_has_no_first_picture(tmp_path):
    assert picture_start_s(write_film(tmp_path / "a.mp4", 3)) == 0.0
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 160), np.int16), "s16", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
    assert picture_start_s(tmp_path / "a.wav") is None


def test_the_partial_file_is_hidden_beside_its_target(tmp_path):
    expected = (tmp_path / "a.b.mp4", tmp_path / ".a.b.partial.mp4")
    assert check_target(tmp_path / "a.b.mp4", ".mp4") == expected


@pytest.mark.refuses
def test_refuses_a_target_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match=r"film\.avi does not end in \.mp4") as caught:
        check_target(tmp_path / "film.avi", ".mp4")
    assert caught.value.hint == "Name it film.mp4."
    with pytest.raises(MediaError, match=r"folder .*none does not exist"):
        check_target(tmp_path / "none" / "film.mp4", ".mp4")
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(MediaError, match="is a folder"):
        check_target(tmp_path / "film.mp4", ".mp4")
