"""Sound read from files of many kinds, in step with the picture, and written and read again."""

import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.audio import read_waveform, write_waveform


def write_sound(path, channels, *, rate=16000, codec="pcm_f32le", layout="mono", stamps=None):
    """A sound file made without our own writer; `stamps` are sample positions of 100 ms blocks."""
    block = rate // 10
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.layout = layout
        kind = stream.codec_context.format
        stream.codec_context.time_base = Fraction(1, rate)
        for number, first in enumerate(range(0, channels.shape[1], block)):
            part = np.ascontiguousarray(channels[:, first : first + block], np.float32)
            packed = part if kind.is_planar else part.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, kind.name, layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = first if stamps is None else stamps[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_video_with_sound(path, *, picture_ms, sound_ms):
    """100 ms of picture and 800 ms of sound, each with its own start; a click 400 ms into it."""
    waveform = np.zeros(800 * 16, np.int16)
    waveform[400 * 16] = 30000
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=50, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=16000)
        sound.codec_context.layout = "mono"
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = picture_ms + 20 * index, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(waveform[None], "s16", "mono")
        block.sample_rate, block.time_base = 16000, Fraction(1, 16000)
        block.pts = 16 * sound_ms
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path


def sine(rate, samples, frequency_hz=440.0, amplitude=0.5):
    time_s = np.arange(samples) / rate
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_any_rate_and_layout_gives_the_same_sound(tmp_path, rate, layout):
    count = {"mono": 1, "stereo": 2}[layout]
    source = np.repeat(sine(rate, rate + 77)[None], count, axis=0)
    waveform = read_waveform(write_sound(tmp_path / "a.wav", source, rate=rate, layout=layout))
    assert abs(len(waveform) - (rate + 77) * 16000 / rate) < 1
    assert waveform.dtype == np.float32
    # Same level, same phase; the resampler's filter rings at the ends only.
    inner = slice(500, 15500)
    np.testing.assert_allclose(waveform[inner], sine(16000, len(waveform))[inner], atol=1e-4)


def test_channels_are_averaged(tmp_path):
    channels = np.stack([np.full(1600, 0.8), np.full(1600, -0.2)])
    waveform = read_waveform(write_sound(tmp_path / "a.wav", channels, layout="stereo"))
    np.testing.assert_allclose(waveform, np.full(1600, 0.3, np.float32), atol=1e-6)


def test_no_sample_is_lost_at_the_end(tmp_path):
    channels = np.zeros((1, 44100), np.float32)
    channels[0, -20:] = 0.9
    waveform = read_waveform(write_sound(tmp_path / "a.wav", channels, rate=44100))
    assert len(waveform) == 16000
    assert waveform[-5:].min() > 0.4


def test_full_scale_stays_within_one(tmp_path):
    square = np.sign(sine(44100, 44100))[None]
    waveform = read_waveform(write_sound(tmp_path / "a.wav", square, rate=44100))
    assert np.abs(waveform).max() == 1.0


def test_other_rates_can_be_asked_for(tmp_path):
    path = write_sound(tmp_path / "a.wav", sine(16000, 16000)[None])
    waveform = read_waveform(path, 48000)
    inner = slice(2000, 46000)
    np.testing.assert_allclose(waveform[inner], sine(48000, 48000)[inner], atol=1e-4)


def test_compressed_sound_begins_where_it_began(tmp_path):
    source = np.zeros((1, 16000), np.float32)
    source[0, 5000] = 0.9
    path = write_sound(tmp_path / "a.m4a", source, codec="aac")
    waveform = read_waveform(path)
    assert np.abs(waveform).argmax() == 5000
    assert len(waveform) == 16000


@pytest.mark.parametrize(
    ("picture_ms", "sound_ms", "click_ms", "length_ms"),
    [(0, 0, 400, 800), (0, 300, 700, 1100), (240, 0, 160, 560), (500, 300, 200, 600)],
)
def test_sound_is_in_step_with_the_first_picture(
    tmp_path, picture_ms, sound_ms, click_ms, length_ms
):
    path = write_video_with_sound(tmp_path / "a.mkv", picture_ms=picture_ms, sound_ms=sound_ms)
    waveform = read_waveform(path)
    assert abs(int(waveform.argmax()) - click_ms * 16) <= 16
    assert abs(len(waveform) - length_ms * 16) <= 16


@pytest.mark.parametrize("rate", [16000, 48000])
def test_a_gap_in_the_recording_becomes_silence(tmp_path, rate):
    block = rate // 10
    source = np.full((1, 3 * block), 0.5, np.float32)
    path = write_sound(tmp_path / "a.mkv", source, rate=rate, stamps=[0, block, 5 * block])
    waveform = read_waveform(path)
    assert len(waveform) == 9600
    # Half of the step between two samples is where a resampled edge lies; it rings beside it.
    edges = np.flatnonzero(np.diff(waveform > 0.25))
    np.testing.assert_allclose(edges, [3199, 7999], atol=2)
    for part, level in ((slice(50, 3150), 0.5), (slice(3250, 7950), 0.0), (slice(8050, -50), 0.5)):
        np.testing.assert_allclose(waveform[part], level, atol=0.005)


def test_a_recording_may_change_its_format(tmp_path):
    parts = [
        write_sound(
            tmp_path / f"{layout}.aac",
            np.full((count, 44100), 0.25, np.float32),
            rate=44100,
            codec="aac",
            layout=layout,
        ).read_bytes()
        for count, layout in ((2, "stereo"), (1, "mono"))
    ]
    (tmp_path / "both.aac").write_bytes(b"".join(parts))
    waveform = read_waveform(tmp_path / "both.aac")
    np.testing.assert_allclose(waveform[2000:15000], 0.25, atol=0.02)
    np.testing.assert_allclose(waveform[20000:31000], 0.25, atol=0.02)


def test_what_was_written_is_read(tmp_path):
    waveform = np.random.default_rng(1).uniform(-1, 1, 5001).astype(np.float32)
    path = tmp_path / "a.wav"
    write_waveform(path, waveform)
    np.testing.assert_allclose(read_waveform(path), waveform, atol=1.01 / 32768)
    write_waveform(path, waveform[:100], sample_rate_hz=48000)
    with wave.open(str(path)) as file:
        assert file.getparams()[:4] == (1, 2, 48000, 100)
    assert list(tmp_path.iterdir()) == [path]


def test_louder_than_full_scale_is_clipped_not_wrapped(tmp_path):
    write_waveform(tmp_path / "a.wav", np.array([1.0, 2.0, -2.0, 0.5], np.float32))
    expected = [32767 / 32768, 32767 / 32768, -1.0, 0.5]
    np.testing.assert_array_equal(read_waveform(tmp_path / "a.wav"), expected)


@pytest.mark.refuses
def test_refuses_what_holds_no_sound(tmp_path):
    with pytest.raises(MediaError, match=r"No such file.*expected a video or sound") as caught:
        read_waveform(tmp_path / "none.wav")
    assert caught.value.hint
    silent = tmp_path / "silent.mkv"
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match=r"silent\.mkv holds no sound; expected a sound track"):
        read_waveform(silent)
    (tmp_path / "a.wav").write_bytes(b"not a sound " * 9)
    with pytest.raises(MediaError, match="is not a video or sound file"):
        read_waveform(tmp_path / "a.wav")


@pytest.mark.refuses
def test_refuses_a_recording_without_samples(tmp_path):
    write_waveform(tmp_path / "a.wav", np.zeros(0, np.float32))
    with pytest.raises(MediaError, match="holds no sample"):
        read_waveform(tmp_path / "a.wav")


@pytest.mark.refuses
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("layout", "channel"), [("mono", 0), ("stereo", 1)])
def test_names_the_first_moment_that_is_not_finite(tmp_path, bad, layout, channel):
    source = np.zeros((channel + 1, 16000), np.float32)
    source[channel, 12000] = bad
    path = write_sound(tmp_path / "a.wav", source, layout=layout)
    with pytest.raises(MediaError, match=r"not finite at 0\.750 s; expected samples in \[-1, 1\]"):
        read_waveform(path, 8000)


@pytest.mark.refuses
def test_refuses_to_jump_over_minutes(tmp_path):
    source = np.zeros((1, 3200), np.float32)
    path = write_sound(tmp_path / "a.mkv", source, stamps=[0, 16000 * 90])
    with pytest.raises(MediaError, match="jumps by 90 s"):
        read_waveform(path)


@pytest.mark.refuses
def test_refuses_sound_that_is_cut_off(tmp_path):
    path = write_sound(tmp_path / "a.m4a", sine(16000, 32000)[None], codec="aac")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MediaError, match="is cut off"):
        read_waveform(path)


@pytest.mark.refuses
def test_refuses_to_write_what_is_no_waveform(tmp_path):
    path = tmp_path / "a.wav"
    waveform = np.zeros(9600, np.float32)
    waveform[4800] = -np.inf
    with pytest.raises(MediaError, match=r"not finite at 0\.100 s"):
        write_waveform(path, waveform, sample_rate_hz=48000)
    with pytest.raises(MediaError, match=r"shape \(2, 5\).*expected mono"):
        write_waveform(path, np.zeros((2, 5)))
    with pytest.raises(MediaError, match="does not exist"):
        write_waveform(tmp_path / "none" / "a.wav", waveform)
    with pytest.raises(UsageError, match=r"does not end in \.wav"):
        write_waveform(tmp_path / "a.mp3", waveform)
    with pytest.raises(UsageError, match="rate of 0 Hz"):
        write_waveform(path, waveform, sample_rate_hz=0)
    assert list(tmp_path.iterdir()) == []
