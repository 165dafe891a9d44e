"""What a portrait hears: as if each frame had cut its own windows out of the whole recording."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_speaker
from sspnerf.data.speech_features import FeatureSource
from sspnerf.errors import PortraitError, UsageError
from sspnerf.fields.conditioning import ATTENTION_CENTER, ATTENTION_FRAMES
from sspnerf.media.speech import frame_times, log_mel, match_level, speech_windows
from sspnerf.render import hearing
from sspnerf.render.hearing import BLOCK_FRAMES, Hearing, RollingWindows

TOLD = {"speech_feature": "npy", "speech_rate_hz": 50.0, "feature_dim": 3}


def heard_frame_by_frame(portrait, features, frames):
    """The definition: eight windows for each frame, cut out of the whole."""
    rows, encoder = [], portrait.driven.speech_encoder
    for frame in range(frames):
        neighbours = frame + np.arange(ATTENTION_FRAMES) - ATTENTION_CENTER
        windows = speech_windows(
            features, rate_hz=100.0, frame_times_s=frame_times(neighbours, 25.0), window=32
        )
        rows.append(encoder(torch.from_numpy(windows)[None])[0].detach())
    return rows


@pytest.mark.parametrize(
    "frames", [1, 2, 8, BLOCK_FRAMES - 7, BLOCK_FRAMES - 6, 2 * BLOCK_FRAMES + 3, 130]
)
@pytest.mark.parametrize("weighs_neighbours", [False, True])
def test_each_frame_hears_its_own_windows(portrait, frames, weighs_neighbours):
    portrait.driven.speech_encoder.weighs_neighbours.fill_(weighs_neighbours)
    with torch.no_grad():
        for parameter in portrait.driven.speech_encoder.attention_net.parameters():
            parameter.mul_(3)
    sound = np.tile(tiny_speaker.waveform(), 12)[: frames * 640]
    expected = heard_frame_by_frame(
        portrait, log_mel(match_level(sound, portrait.info.speech_level_db)), frames
    )
    heard = list(Hearing(portrait, sound, frames=frames))
    assert len(heard) == frames
    torch.testing.assert_close(torch.stack(heard), torch.stack(expected))
    if frames > 1:
        assert not torch.equal(heard[0], heard[1])


def test_a_recording_can_be_heard_again_and_twice_at_once(portrait):
    hearing = Hearing(portrait, np.tile(tiny_speaker.waveform(), 6), frames=72)
    once = list(hearing)
    for left, right, expected in zip(hearing, hearing, once, strict=True):
        assert torch.equal(left, expected)
        assert torch.equal(right, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [(100.0, 25.0), (50.0, 30.0), (100.0, 30000 / 1001), (29.97, 29.97), (5.0, 25.0)]
    ),
    st.integers(1, 400),
    st.lists(st.integers(0, 90), max_size=30),
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
)
def test_windows_of_pieces_are_windows_of_the_whole(rates, total, pieces, blocks):
    rate_hz, frame_rate_hz = rates
    features = np.random.default_rng(total).normal(size=(total, 2)).astype(np.float32)
    cuts = np.minimum(np.cumsum([0, *pieces]), total)
    parts = [features[a:b] for a, b in zip(cuts, [*cuts[1:], total], strict=True)]
    rolling = RollingWindows(iter(parts), rate_hz=rate_hz, frame_rate_hz=frame_rate_hz)
    start = -4
    for block in blocks:
        frames = np.arange(start, start + block)
        expected = speech_windows(
            features,
            rate_hz=rate_hz,
            frame_times_s=frame_times(frames, frame_rate_hz),
            window=rolling._window,
        )
        np.testing.assert_array_equal(rolling.take(frames).numpy(), expected)
        start += block


def test_features_are_computed_when_they_are_wanted_and_then_forgotten(portrait, monkeypatch):
    """An hour of sound needs no more than its own bytes, and does not delay the first frame."""
    frames, held = 25 * 600, []
    pushed = np.zeros(0)
    heard = Hearing(portrait, np.resize(tiny_speaker.waveform(), frames * 640), frames=frames)
    pieces, take = heard.features(), RollingWindows.take

    def counted():
        nonlocal pushed
        for piece in pieces:
            pushed = np.append(pushed, len(piece))
            yield piece

    def watched(self, frame_index):
        windows = take(self, frame_index)
        held.append(len(self._held))
        return windows

    monkeypatch.setattr(heard, "features", counted)
    monkeypatch.setattr(RollingWindows, "take", watched)
    rows = iter(heard)
    next(rows)
    assert pushed.sum() <= 200
    for _ in range(1000):
        next(rows)
    assert len(pushed) <= 22
    assert max(held) <= 500


def test_features_are_those_of_the_training(portrait):
    sound = tiny_speaker.waveform()
    expected = log_mel(match_level(sound, portrait.info.speech_level_db))
    found = np.concatenate(list(Hearing(portrait, sound, frames=12).features()))
    np.testing.assert_array_equal(found, expected)


def test_the_network_that_listens_is_loaded_once_for_one_film(portrait, monkeypatch):
    opened, honest = [], hearing.open_stream

    def counting(source: FeatureSource):
        opened.append(source.kind)
        return honest(source)

    monkeypatch.setattr(hearing, "open_stream", counting)
    heard = Hearing(portrait, tiny_speaker.waveform(), frames=12)
    list(heard)
    assert opened == ["logmel"]
    list(heard)
    assert opened == ["logmel"] * 2


@pytest.mark.parametrize("kind", ["npy", "aud_ds"])
def test_a_portrait_of_brought_features_reads_those_of_the_recording(kind, portrait, tmp_path):
    portrait.info = portrait.info.model_copy(update={**TOLD, "speech_feature": kind})
    features = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    np.save(tmp_path / "new.npy", features)
    heard = Hearing(portrait, tiny_speaker.waveform(), frames=12, feature_file=tmp_path / "new.npy")
    (read,) = heard.features()
    np.testing.assert_array_equal(read, features)


@pytest.mark.refuses
def test_features_that_do_not_fit_the_portrait_are_refused(portrait, tmp_path):
    def hear(told, file=None):
        portrait.info = told
        Hearing(portrait, tiny_speaker.waveform(), frames=12, feature_file=file)

    info = portrait.info
    with pytest.raises(UsageError, match="listens to logmel features and computes them itself"):
        hear(info, tmp_path / "new.npy")
    brought = info.model_copy(update=TOLD)
    with pytest.raises(UsageError, match="npy features cannot be computed from a rec") as caught:
        hear(brought)
    assert "--feature-file" in caught.value.hint
    np.save(tmp_path / "wide.npy", np.zeros((48, 4), np.float32))
    with pytest.raises(UsageError, match="of 4 numbers; the portrait listens to 3"):
        hear(brought, tmp_path / "wide.npy")
    with pytest.raises(PortraitError, match="have dim 80; the portrait was trained with 81"):
        hear(info.model_copy(update={"feature_dim": 81}))
