"""Films written and read back: which picture, when, which way up, and in step with the sound."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.audio import read_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.video import probe_video, read_frames, resampled_frames, upright

CLIPS = Path(os.environ.get("SSPNERF_CLIPS", Path(__file__).parents[2] / "../shared/clips"))
NTSC = 30000 / 1001


def gray(index, width=64, height=48):
    """A picture whose gray level tells its index, far enough apart to survive compression."""
    return np.full((height, width, 3), 20 + 6 * (index % 36), np.uint8)


def index_of(picture):
    return round((float(picture.mean()) - 20) / 6)


def write_film(path, frames, *, rate=25.0, waveform=None, sample_rate_hz=16000):
    with FilmWriter(
        path,
        width=64,
        height=48,
        frame_rate_hz=rate,
        waveform=waveform,
        sample_rate_hz=sample_rate_hz,
    ) as film:
        for index in range(frames):
            film.write(gray(index))
    return path


def write_stamped(path, stamps_ms, *, rate=25, rotation=None, picture=None, mirror=False):
    """A video with the given time stamps, made without our own writer."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirror)
        for index, stamp in enumerate(stamps_ms):
            pixels = gray(index) if picture is None else picture
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(
        tmp_path_factory.mktemp("film") / "film.mp4", 30, waveform=np.zeros(20000, np.float32)
    )


@pytest.fixture
def real_clip():
    path = CLIPS / "fr_50s.mp4"
    if not path.exists():
        pytest.skip("no real clips on this machine")
    return path


# --- reading and writing ---------------------------------------------------------------------


@pytest.mark.parametrize("rate", [25.0, NTSC])
def test_each_picture_comes_back_in_order_at_its_time(tmp_path, rate):
    times, pictures = zip(*read_frames(write_film(tmp_path / "a.mp4", 20, rate=rate)), strict=True)
    assert [index_of(p) for p in pictures] == list(range(20))
    np.testing.assert_allclose(times, np.arange(20) / rate, atol=1e-6)


def test_probe_tells_what_was_written(film):
    info = probe_video(film)
    assert (info.width, info.height, info.has_sound) == (64, 48, True)
    assert info.frame_rate_hz == 25.0
    assert info.duration_s == pytest.approx(30 / 25)


def test_a_fractional_rate_is_kept_exactly(tmp_path):
    path = write_film(tmp_path / "a.mp4", 40, rate=NTSC)
    info = probe_video(path)
    assert info.frame_rate_hz == NTSC
    assert info.duration_s == pytest.approx(40 * 1001 / 30000, abs=1e-9)
    assert not info.has_sound


def test_colours_survive(tmp_path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (255, 255, 255), (0, 0, 0)]
    path = tmp_path / "a.mp4"
    with FilmWriter(path, width=64, height=48, frame_rate_hz=25) as film:
        for colour in colours:
            film.write(np.full((48, 64, 3), colour, np.uint8))
    read = [picture.mean(axis=(0, 1)) for _, picture in read_frames(path)]
    # Limited-range 8-bit colour has steps of about 2; the wrong matrix would be off by 10 to 30.
    np.testing.assert_allclose(read, colours, atol=3)


def test_an_odd_size_grows_by_a_repeated_row_and_column(tmp_path):
    path = tmp_path / "a.mp4"
    with FilmWriter(path, width=63, height=47, frame_rate_hz=25) as film:
        film.write(np.dstack([np.full((47, 63), level, np.uint8) for level in (90, 90, 90)]))
    (_, picture), *_ = read_frames(path)
    assert picture.shape == (48, 64, 3)
    np.testing.assert_allclose(picture, 90, atol=2)


@pytest.mark.parametrize(("rate", "sample_rate_hz"), [(25.0, 16000), (NTSC, 44100)])
def test_a_click_and_a_flash_stay_together(tmp_path, rate, sample_rate_hz):
    flashes = [10, 37, 80]
    waveform = np.zeros(round(100 / rate * sample_rate_hz), np.float32)
    for flash in flashes:
        waveform[round(flash / rate * sample_rate_hz)] = 0.9
    path = tmp_path / "a.mp4"
    with FilmWriter(
        path,
        width=64,
        height=48,
        frame_rate_hz=rate,
        waveform=waveform,
        sample_rate_hz=sample_rate_hz,
    ) as film:
        for index in range(100):
            film.write(np.full((48, 64, 3), 250 if index in flashes else 10, np.uint8))
    lit = [time_s for time_s, picture in read_frames(path) if picture.mean() > 128]
    sound = read_waveform(path, sample_rate_hz)
    loud = [
        np.abs(sound[round((t - 0.2) * sample_rate_hz) :][: round(0.4 * sample_rate_hz)]).argmax()
        / sample_rate_hz
        + t
        - 0.2
        for t in lit
    ]
    assert len(lit) == 3
    np.testing.assert_allclose(loud, lit, atol=0.001)


@pytest.mark.parametrize(("samples", "expected"), [(12000, 12000), (16000, 16000), (90000, 16000)])
def test_the_sound_lasts_as_long_as_the_shorter_of_the_two(tmp_path, samples, expected):
    waveform = np.full(samples, 0.1, np.float32)
    path = write_film(tmp_path / "a.mp4", 25, waveform=waveform)
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        assert sound.duration * sound.time_base * 16000 == expected
        assert container.streams.video[0].frames == 25
    assert len(read_waveform(path)) == expected


def test_sound_and_picture_are_interleaved(tmp_path):
    path = write_film(tmp_path / "a.mp4", 150, waveform=np.zeros(96000, np.float32))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux() if p.size]
        positions = {
            kind: [(p.pos, float(p.pts * p.time_base)) for p in packets if p.stream.type == kind]
            for kind in ("video", "audio")
        }
    # Wherever a player is in the file, the other track is less than a second away.
    for pos, time_s in positions["video"]:
        heard = [t for at, t in positions["audio"] if at < pos]
        assert not heard or abs(heard[-1] - time_s) < 1.0


def test_the_index_comes_first_for_playing_while_loading(film):
    data = film.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_a_film_replaces_the_one_before(tmp_path):
    path = write_film(tmp_path / "a.mp4", 5)
    write_film(path, 9)
    assert len(list(read_frames(path))) == 9
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_film_and_no_traces(tmp_path):
    path = write_film(tmp_path / "a.mp4", 5)
    before = path.read_bytes()

    def render_and_fail():
        with FilmWriter(path, width=64, height=48, frame_rate_hz=25) as film:
            film.write(gray(0))
            assert (tmp_path / ".a.partial.mp4").exists()
            raise KeyError("renderer")

    with pytest.raises(KeyError, match="renderer"):
        render_and_fail()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- time and orientation --------------------------------------------------------------------


def test_times_count_from_the_first_picture(tmp_path):
    path = write_stamped(tmp_path / "a.mkv", [500, 540, 600])
    np.testing.assert_allclose([t for t, _ in read_frames(path)], [0, 0.04, 0.1], atol=1e-9)


def test_a_file_that_does_not_tell_its_length_is_measured(tmp_path):
    info = probe_video(write_stamped(tmp_path / "a.mkv", [0, 40, 80, 120, 160]))
    assert info.duration_s == pytest.approx(0.2)
    assert info.frame_rate_hz == pytest.approx(25.0)
    stamps_ms = [round(1001 * i / 30) for i in range(40)]
    rounded = write_stamped(tmp_path / "b.mkv", stamps_ms, rate=Fraction(30000, 1001))
    assert probe_video(rounded).frame_rate_hz == NTSC
    # A recorder that promises 25 and delivers 10.
    slow = write_stamped(tmp_path / "c.mkv", range(0, 1000, 100))
    assert probe_video(slow).frame_rate_hz == pytest.approx(10.0)
    assert probe_video(slow).duration_s == pytest.approx(1.0)


def resampled(path, rate):
    return [index_of(picture) for picture in resampled_frames(path, rate)]


def test_the_own_rate_passes_each_picture_once(film, tmp_path):
    assert resampled(film, 25.0) == list(range(30))
    uneven = write_stamped(tmp_path / "a.mkv", [0, 33, 81, 119, 170, 199])
    assert resampled(uneven, 25.0) == list(range(6))
    ntsc = write_film(tmp_path / "b.mp4", 36, rate=NTSC)
    assert resampled(ntsc, probe_video(ntsc).frame_rate_hz) == list(range(36))


def test_other_rates_show_what_is_on_show_in_the_middle(tmp_path):
    path = write_film(tmp_path / "a.mp4", 10)
    assert resampled(path, 12.5) == [0, 2, 4, 6, 8]
    assert resampled(path, 50.0) == [i // 2 for i in range(20)]
    # At 30 Hz frame i has its middle at (i + 0.5) / 30 s; picture j is on show from j / 25 s on.
    assert resampled(path, 30.0) == [int((i + 0.5) / 30 * 25) for i in range(12)]


def test_a_gap_is_filled_with_the_last_picture(tmp_path):
    path = write_stamped(tmp_path / "a.mkv", [0, 40, 80, 280, 320])
    assert resampled(path, 25.0) == [0, 1, 2, 2, 2, 2, 2, 3, 4]


LETTER = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), [[0, 1, 2], [3, 4, 5]]),
        ((0, 1, -1, 0), [[3, 0], [4, 1], [5, 2]]),  # clockwise
        ((-1, 0, 0, -1), [[5, 4, 3], [2, 1, 0]]),
        ((0, -1, 1, 0), [[2, 5], [1, 4], [0, 3]]),  # counter-clockwise
        ((-1, 0, 0, 1), [[2, 1, 0], [5, 4, 3]]),  # mirrored
        ((0, 1, 1, 0), [[0, 3], [1, 4], [2, 5]]),  # transposed
        ((0, 65000, -65536, 900), [[3, 0], [4, 1], [5, 2]]),  # nearly clockwise
    ],
)
def test_a_display_matrix_turns_the_picture(matrix, expected):
    np.testing.assert_array_equal(upright(LETTER, matrix)[..., 0], expected)


@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
def test_a_phone_held_sideways_gives_upright_pictures(tmp_path, rotation, turns):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :24] = 220  # a bright corner at the top left
    path = write_stamped(tmp_path / "a.mp4", [0, 40], rotation=rotation, picture=picture)
    expected = np.rot90(picture, turns)  # counter-clockwise, as FFmpeg counts
    (_, shown), *_ = read_frames(path)
    assert np.abs(shown.astype(int) - expected).mean() < 3
    info = probe_video(path)
    assert (info.height, info.width) == expected.shape[:2]


def test_a_selfie_is_mirrored_as_its_file_asks(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :24] = 220
    path = write_stamped(tmp_path / "a.mp4", [0], rotation=0, mirror=True, picture=picture)
    (_, shown), *_ = read_frames(path)
    assert np.abs(shown.astype(int) - picture[:, ::-1]).mean() < 3


def test_a_real_clip_is_what_its_description_says(real_clip):
    info = probe_video(real_clip)
    assert (info.width, info.height, info.frame_rate_hz) == (512, 512, 30.0)
    assert info.duration_s == pytest.approx(50.33, abs=0.01)
    times = [time_s for (time_s, _), _ in zip(read_frames(real_clip), range(5), strict=False)]
    np.testing.assert_allclose(times, np.arange(5) / 30, atol=1e-3)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.refuses
def test_refuses_a_folder_that_cannot_be_written_to_before_the_first_frame(tmp_path):
    (tmp_path / ".a.partial.mp4").mkdir()  # in the way, also for an administrator
    writer = FilmWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate_hz=25)
    with pytest.raises(MediaError, match=r"a\.mp4 cannot be written: Is a directory"):
        writer.__enter__()


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"path": "a.mkv"}, UsageError, r"does not end in \.mp4"),
        ({"path": "none/a.mp4"}, MediaError, "does not exist"),
        ({"width": 8}, UsageError, "8x48 px is not possible; expected 16 or more"),
        ({"frame_rate_hz": 0.0}, UsageError, r"0\.0 frames per second are not possible"),
        ({"frame_rate_hz": float("nan")}, UsageError, "nan frames per second"),
        ({"sample_rate_hz": 12345}, UsageError, "AAC cannot hold sound of 12345 Hz"),
        ({"waveform": np.array([0.0, np.nan])}, MediaError, "not finite at 0.000 s"),
    ],
)
def test_refuses_an_impossible_film(tmp_path, change, error, expected):
    request = {"path": "a.mp4", "width": 64, "height": 48, "frame_rate_hz": 25.0} | change
    with pytest.raises(error, match=expected):
        FilmWriter(tmp_path / request.pop("path"), **request)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.refuses
@pytest.mark.parametrize("frame", [np.zeros((48, 63, 3), np.uint8), np.zeros((48, 64, 3))])
def test_refuses_a_frame_that_does_not_fit(tmp_path, frame):
    writer = FilmWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate_hz=25)
    with pytest.raises(MediaError, match=r"frame 0 is .*; expected uint8 \(48, 64, 3\)"), writer:
        writer.write(frame)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.refuses
def test_refuses_a_film_without_frames(tmp_path):
    writer = FilmWriter(tmp_path / "a.mp4", width=64, height=48, frame_rate_hz=25)
    with pytest.raises(MediaError, match="no frame was written"), writer:
        pass
    assert list(tmp_path.iterdir()) == []
