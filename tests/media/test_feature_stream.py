"""Block streams: the same features whatever the pieces, from fixed stretches of the recording."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sspnerf.errors import MediaError, UsageError
from sspnerf.media.feature_stream import Blocks, BlockStream, hear_whole
from sspnerf.media.speech import LogMelStream, log_mel

HOP = 4


def hear(samples):
    """Something that depends on all that is heard, and on its order."""
    hops = samples.reshape(-1, HOP)
    place = np.arange(len(hops))
    return np.stack((hops.sum(axis=1) - samples.mean(), hops @ np.arange(HOP) + place), axis=1)


def oracle(waveform, kept, context):
    """The definition, one block at a time, on the whole recording."""
    total = -(-len(waveform) // HOP)
    padded = np.pad(waveform, (0, total * HOP - len(waveform)))
    features = []
    for first in range(0, total, kept):
        end = min(first + kept, total)
        start, stop = max(first - context, 0), min(end + context, total)
        heard = hear(padded[start * HOP : stop * HOP])
        features += [heard[j - start] for j in range(first, end)]
    return np.array(features, np.float32).reshape(-1, 2)


def stream_of(kept, context, heard=hear):
    return BlockStream(heard, dim=2, blocks=Blocks(HOP, kept, context))


cuts = st.lists(st.integers(0, 60), max_size=12)


@given(cuts, st.integers(1, 5), st.integers(0, 4))
def test_pieces_give_the_features_of_the_whole(lengths, kept, context):
    waveform = np.random.default_rng(1).normal(size=sum(lengths)).astype(np.float32)
    stream = stream_of(kept, context)
    pieces = np.split(waveform, np.cumsum(lengths))
    given_out = np.concatenate([*map(stream.push, pieces), stream.finish()])
    expected = oracle(waveform, kept, context)
    assert given_out.shape == expected.shape
    np.testing.assert_array_equal(given_out, expected)
    np.testing.assert_array_equal(hear_whole(stream_of(kept, context), waveform), expected)


def test_a_block_comes_as_soon_as_its_context_has():
    stream, waveform = stream_of(3, 2), np.ones(100, np.float32)
    assert len(stream.push(waveform[: 5 * HOP - 1])) == 0
    assert len(stream.push(waveform[:1])) == 3
    assert len(stream.push(waveform[: 6 * HOP])) == 6
    assert len(stream.finish()) == 2


def test_the_latency_is_that_of_a_block_and_its_context():
    assert Blocks(320, 200, 100).latency_s == pytest.approx(6.0)


def test_memory_does_not_grow():
    longest = []

    def noting(samples):
        longest.append(len(samples))
        return hear(samples)

    stream = stream_of(5, 2, noting)
    for _ in range(50):
        stream.push(np.ones(37, np.float32))
        assert len(stream._pending) <= (5 + 2 + 2) * HOP + 37
    stream.finish()
    assert max(longest) == (5 + 2 * 2) * HOP


def test_log_mel_can_be_streamed_the_same_way():
    waveform = np.random.default_rng(0).normal(size=400_000).astype(np.float32)
    seen = []
    features = hear_whole(LogMelStream(), waveform, progress=lambda *done: seen.append(done))
    np.testing.assert_array_equal(features, log_mel(waveform))
    assert seen == [(160_000, 400_000), (320_000, 400_000), (400_000, 400_000)]


@pytest.mark.refuses
def test_what_is_no_waveform_is_refused():
    stream = stream_of(2, 1)
    stream.push(np.zeros(8, np.float32))
    with pytest.raises(MediaError, match=r"not finite at 0\.001 s"):
        stream.push(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.nan]))
    with pytest.raises(MediaError, match=r"shape \(2, 2\)"):
        stream.push(np.zeros((2, 2)))
    stream.finish()
    with pytest.raises(UsageError, match="finished"):
        stream.push(np.zeros(1))
