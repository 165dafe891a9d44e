"""What drives the field: windows by hand, a convolution against the library's, attention's laws."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import oracles
from sspnerf.config import PRESETS, SpeechConfig
from sspnerf.fields.conditioning import (
    ATTENTION_CENTER,
    ATTENTION_FRAMES,
    LEAK,
    UPPER_FACE_BLENDSHAPES,
    SmallConvolution,
    SpeechEncoder,
    UpperFaceEncoder,
    frame_windows,
    neighbour_frames,
    window_length,
)

JAW_OPEN, EYE_BLINK_LEFT = 25, 9


def neighbour_windows(features, frame_index, **rates):
    """What the encoder is given for each frame: the windows of its neighbours."""
    return frame_windows(features, neighbour_frames(frame_index), **rates)


class Marks(nn.Module):
    """Encodes each of the 8 neighbours as its own unit vector: the output is the weights."""

    def forward(self, windows):  # noqa: D102
        return torch.eye(ATTENTION_FRAMES).repeat(len(windows) // ATTENTION_FRAMES, 1)


def encoder(*, seed=0, window=6, feature_dim=3, speech_dim=8):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = SpeechConfig(channels=(16,) * 4)
        return SpeechEncoder(feature_dim, window, speech_dim=speech_dim, config=config)


def random_windows(generator, frames=3, window=6):
    return torch.randn(frames, ATTENTION_FRAMES, window, 3, generator=generator)


@pytest.mark.parametrize(("rate_hz", "length"), [(50.0, 16), (100.0, 32), (25.0, 8), (0.1, 1)])
def test_a_window_lasts_a_third_of_a_second(rate_hz, length):
    assert window_length(rate_hz) == length


def test_windows_by_hand():
    ramp = np.stack([np.arange(400), -np.arange(400)], axis=1).astype(np.float32)
    windows = neighbour_windows(ramp, np.array([50, 20]), rate_hz=100.0, frame_rate_hz=25.0)
    assert windows.shape == (2, 8, 32, 2)
    # Frame 50 is seen from 2.00 to 2.04 s; its middle lies between features 201 and 202.
    assert windows[0, ATTENTION_CENTER, :, 0].tolist() == list(range(186, 218))
    # Its first neighbour is frame 46, four features a frame earlier; its last is frame 53.
    assert windows[0, 0, :, 0].tolist() == list(range(170, 202))
    assert windows[0, 7, :, 1].tolist() == [-i for i in range(198, 230)]
    assert windows[1, ATTENTION_CENTER, 0, 0] == 66


def test_beyond_the_recording_its_ends_are_repeated():
    ramp = np.arange(8, dtype=np.float32)[:, None]
    windows = neighbour_windows(ramp, np.array([0, 1]), rate_hz=100.0, frame_rate_hz=25.0)
    assert windows[0, 0, :, 0].tolist() == [0.0] * 31 + [1.0]
    assert windows[0, ATTENTION_CENTER, :, 0].tolist() == [0.0] * 14 + [*range(8)] + [7.0] * 10
    assert windows[1, 7, :, 0].tolist() == [2.0, 3.0, 4.0, 5.0, 6.0] + [7.0] * 27


def test_windows_of_no_frames_are_none():
    none = neighbour_windows(
        np.zeros((5, 3), np.float32), np.zeros(0, np.int64), rate_hz=100.0, frame_rate_hz=25.0
    )
    assert none.shape == (0, 8, 32, 3)


@pytest.mark.parametrize(("inputs", "outputs", "length"), [(20, 16, 8), (2, 1, 8), (3, 4, 1)])
def test_the_small_convolution_is_the_librarys(generator, inputs, outputs, length):
    ours = SmallConvolution(inputs, outputs, 3).double()
    theirs = nn.Conv1d(inputs, outputs, 3, padding=1).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(5, inputs, length, generator=generator, dtype=torch.float64)
    cotangent = torch.randn(5, outputs, length, generator=generator, dtype=torch.float64)
    sides = []
    for convolution in (ours, theirs):
        given = x.clone().requires_grad_()
        out = convolution(given)
        wanted = (given, convolution.weight, convolution.bias)
        sides.append((out, *torch.autograd.grad(out, wanted, cotangent)))
    torch.testing.assert_close(*sides)


def test_the_small_convolution_matches_the_oracle(generator):
    convolution = SmallConvolution(2, 3, 3)
    x = torch.randn(1, 2, 4, generator=generator)
    expected = oracles.convolve(
        x[0].tolist(), convolution.weight.tolist(), convolution.bias.tolist()
    )
    torch.testing.assert_close(convolution(x)[0], torch.tensor(expected))


@pytest.mark.parametrize("seed", range(5))
def test_attention_starts_centred_on_the_frame(generator, seed):
    fresh = encoder(seed=seed)
    fresh.window_net = Marks()
    with torch.no_grad():
        weights = fresh(random_windows(generator))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3))
    assert (weights.argmax(-1) == ATTENTION_CENTER).all()
    offset = torch.arange(ATTENTION_FRAMES) - ATTENTION_CENTER
    assert (weights[:, offset.abs() > 2].sum(-1) < weights[:, offset.abs() <= 1].sum(-1)).all()


def test_attention_weighs_speech_that_does_not_change_as_if_it_were_one_window(generator):
    fresh = encoder()
    window = torch.randn(6, 3, generator=generator)
    everywhere = window.expand(2, ATTENTION_FRAMES, 6, 3)
    alone = fresh.window_net(window.T[None])
    torch.testing.assert_close(fresh(everywhere), alone.expand(2, 8))


@pytest.mark.parametrize("window", [1, 2, 6, 17, 32])
def test_any_window_length_is_encoded_and_each_frame_alone(generator, window):
    fresh, windows = encoder(window=window), random_windows(generator, window=window)
    together = fresh(windows)
    assert together.shape == (3, 8)
    for frame in range(3):
        torch.testing.assert_close(together[frame], fresh(windows[frame : frame + 1])[0])


def test_how_loud_the_features_are_on_average_does_not_matter(generator):
    features, windows = torch.randn(50, 3, generator=generator), random_windows(generator)
    first, second = encoder(), encoder()
    first.set_statistics(features)
    second.set_statistics(features * 7 - 30)
    torch.testing.assert_close(first(windows), second(windows * 7 - 30), rtol=1e-4, atol=1e-5)


def test_a_feature_that_never_changes_does_not_divide_by_zero():
    fresh = encoder()
    fresh.set_statistics(torch.ones(10, 3))
    assert fresh(torch.ones(1, ATTENTION_FRAMES, 6, 3)).isfinite().all()


def test_every_parameter_of_the_encoder_receives_a_gradient(generator):
    fresh = encoder()
    fresh(random_windows(generator)).square().sum().backward()
    for name, parameter in fresh.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_usual_upper_face_says_nothing():
    face = UpperFaceEncoder(upper_face_dim=5)
    usual = torch.linspace(0, 1, 52).expand(4, 52)
    face.set_statistics(usual)
    torch.testing.assert_close(face(usual), face.linear.bias.expand(4, 5))


def test_small_movements_speak_as_loud_as_large_ones(generator):
    """A blink that moves its blendshape by a tenth is heard like one that moves it fully."""
    moves = torch.rand(40, 52, generator=generator)
    faint, loud = UpperFaceEncoder(upper_face_dim=5), UpperFaceEncoder(upper_face_dim=5)
    faint.load_state_dict(loud.state_dict())
    faint.set_statistics(moves * 0.1)
    loud.set_statistics(moves)
    torch.testing.assert_close(faint(moves * 0.1), loud(moves), rtol=1e-4, atol=1e-5)


def test_only_the_upper_face_is_encoded():
    face = UpperFaceEncoder(upper_face_dim=5)
    rest = torch.zeros(1, 52)
    for blendshape in range(52):
        moved = rest.clone()
        moved[0, blendshape] = 1.0
        heard = not torch.equal(face(moved), face(rest))
        assert heard == (blendshape in UPPER_FACE_BLENDSHAPES), blendshape
    assert EYE_BLINK_LEFT in UPPER_FACE_BLENDSHAPES
    assert JAW_OPEN not in UPPER_FACE_BLENDSHAPES


def test_adnerfs_settings_build_adnerfs_speech_networks():
    """On DeepSpeech windows of (16, 29): AudioNet and AudioAttNet, paper.md's 0.035 M."""
    made = SpeechEncoder(29, 16, speech_dim=64, config=PRESETS["adnerf"].speech)
    audio_net = (
        (29 * 32 * 3 + 32) + (32 * 32 * 3 + 32) + (32 * 64 * 3 + 64) + (64 * 64 * 3 + 64)
        + 2 * (64 * 64 + 64)
    )  # fmt: skip
    attention = (
        (32 * 16 * 3 + 16) + (16 * 8 * 3 + 8) + (8 * 4 * 3 + 4) + (4 * 2 * 3 + 2) + (2 * 3 + 1)
    )
    counted = sum(parameter.numel() for parameter in made.parameters())
    assert counted == audio_net + attention + (8 * 8 + 8) == 34_949


def test_before_the_attention_is_on_each_frame_is_heard_alone(generator):
    config = SpeechConfig(channels=(16,) * 4, attention_from=0.5)
    made = SpeechEncoder(3, 6, speech_dim=8, config=config)
    windows = random_windows(generator)
    alone = made.encode(windows[:, ATTENTION_CENTER])
    torch.testing.assert_close(made(windows), alone)
    made.weighs_neighbours.fill_(True)
    assert not torch.allclose(made(windows), alone)


def test_the_attention_is_a_softmax_of_what_it_sees(generator):
    """Against the formula in plain loops: convolutions, leaky ReLUs, one linear layer, softmax."""
    config = SpeechConfig(channels=(16,) * 4, attention_inputs=5)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = SpeechEncoder(3, 6, speech_dim=8, config=config).double()
    encoded = torch.randn(2, ATTENTION_FRAMES, 8, generator=generator, dtype=torch.float64)
    for frame in range(2):
        signal = encoded[frame, :, :5].T.tolist()
        for layer in made.attention_net:
            if isinstance(layer, SmallConvolution):
                signal = leaky(convolve(signal, layer.weight.tolist(), layer.bias.tolist()))
        weight, bias = made.attention_out.weight.tolist(), made.attention_out.bias.tolist()
        scores = [
            sum(w * v for w, v in zip(row, signal[0], strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]
        total = sum(math.exp(score) for score in scores)
        expected = sum(
            math.exp(score) / total * encoded[frame, place] for place, score in enumerate(scores)
        )
        torch.testing.assert_close(made.attend(encoded)[frame], expected)


def convolve(signal, weight, bias):
    """Size 3, one zero at either end, in plain loops."""
    length = len(signal[0])
    padded = [[0.0, *channel, 0.0] for channel in signal]
    return [
        [
            b + sum(w[i][k] * padded[i][t + k] for i in range(len(padded)) for k in range(3))
            for t in range(length)
        ]
        for w, b in zip(weight, bias, strict=True)
    ]


def leaky(signal):
    return [[value if value > 0 else LEAK * value for value in channel] for channel in signal]
