"""BiSeNet: the published file fits, and the layers do what the papers say."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from sspnerf.errors import SspnerfError
from sspnerf.perception.bisenet import (
    AttentionRefinement,
    BiSeNet,
    FaceParsingNetwork,
    FeatureFusion,
    ResidualBlock,
    load_bisenet,
    normalized,
)
from sspnerf.perception.celeba_mask import FACE_SIDE, CelebAMaskClass
from tiny_networks import bisenet_shapes, bisenet_weights

# Of 79999_iter.pth, as the places that offer it say.
PUBLISHED_BYTES, PUBLISHED_ARRAYS = 53_289_463, 191


@pytest.fixture(scope="module")
def weights():
    return bisenet_weights(torch.Generator().manual_seed(7))


@pytest.fixture(scope="module")
def weights_file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "79999_iter.pth"
    # As PyTorch of 2019 wrote it.
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    return path


def test_names_and_shapes_are_those_of_the_published_file():
    found = {name: tuple(array.shape) for name, array in BiSeNet().state_dict().items()}
    assert found == bisenet_shapes()
    assert len(found) == PUBLISHED_ARRAYS


def test_the_arrays_fill_the_published_file():
    """What is left over, 0.07 %, is names and the like."""
    arrays = BiSeNet().state_dict().values()
    size = sum(array.numel() * array.element_size() for array in arrays)
    assert 0.999 * PUBLISHED_BYTES < size < PUBLISHED_BYTES


def test_all_weights_are_loaded(weights, weights_file):
    network = load_bisenet(weights_file)
    assert not network.training
    for name, array in network.state_dict().items():
        torch.testing.assert_close(array, weights[name], rtol=0, atol=0)


def test_a_file_of_today_and_one_without_counters_are_read_as_well(weights, tmp_path):
    kept = {name: value for name, value in weights.items() if "num_batches" not in name}
    torch.save(kept, tmp_path / "new.pth")
    loaded = load_bisenet(tmp_path / "new.pth").state_dict()
    torch.testing.assert_close(loaded["ffm.conv1.weight"], weights["ffm.conv1.weight"])


def norm(weights, name, x):
    mean, variance, scale, shift = (
        weights[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift


def block(weights, name, x):
    kernel = weights[f"{name}.conv.weight"]
    return norm(
        weights, f"{name}.bn", functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
    ).relu()


def residual(weights, name, x, stride):
    inner = functional.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
    inner = norm(weights, f"{name}.bn1", inner).relu()
    inner = norm(
        weights, f"{name}.bn2", functional.conv2d(inner, weights[f"{name}.conv2.weight"], padding=1)
    )
    if f"{name}.downsample.0.weight" in weights:
        x = functional.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride)
        x = norm(weights, f"{name}.downsample.1", x)
    return (x + inner).relu()


def refine(weights, name, x):
    x = block(weights, f"{name}.conv", x)
    attention = torch.einsum(
        "oi,bi->bo", weights[f"{name}.conv_atten.weight"][..., 0, 0], x.mean((2, 3))
    )
    return x * torch.sigmoid(norm(weights, f"{name}.bn_atten", attention[..., None, None]))


def twice(x):
    """Each value becomes a square of four."""
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def oracle(weights, picture):
    """The published network, written from its weights' names; sides a multiple of 32."""
    x = functional.conv2d(picture, weights["cp.resnet.conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(norm(weights, "cp.resnet.bn1", x).relu(), 3, 2, 1)
    levels = []
    for layer in (1, 2, 3, 4):
        x = residual(weights, f"cp.resnet.layer{layer}.0", x, 1 if layer == 1 else 2)
        x = residual(weights, f"cp.resnet.layer{layer}.1", x, 1)
        levels.append(x)
    _, eighth, sixteenth, coarse = levels
    average = block(weights, "cp.conv_avg", coarse.mean((2, 3), keepdim=True))
    up = block(weights, "cp.conv_head32", twice(refine(weights, "cp.arm32", coarse) + average))
    up = block(weights, "cp.conv_head16", twice(refine(weights, "cp.arm16", sixteenth) + up))
    joined = block(weights, "ffm.convblk", torch.cat((eighth, up), dim=1))
    squeezed = (joined.mean((2, 3)) @ weights["ffm.conv1.weight"][..., 0, 0].T).relu()
    attention = torch.sigmoid(squeezed @ weights["ffm.conv2.weight"][..., 0, 0].T)
    joined = joined * (1 + attention[..., None, None])
    last = block(weights, "conv_out.conv", joined)
    return functional.conv2d(last, weights["conv_out.conv_out.weight"])


def lines(size, length):
    """Linear interpolation from `size` values to `length`, first on first and last on last."""
    matrix = torch.zeros(length, size)
    for row in range(length):
        place = row * (size - 1) / (length - 1)
        low = min(int(place), size - 2)
        matrix[row, low], matrix[row, low + 1] = 1 - (place - low), place - low
    return matrix


def test_the_network_is_the_published_one(weights, weights_file, generator):
    picture = torch.randn((1, 3, 64, 96), generator=generator)
    with torch.inference_mode():
        found = load_bisenet(weights_file)(picture)
        small = oracle(weights, picture)
    expected = lines(8, 64) @ small @ lines(12, 96).T
    assert small.std() > 0.1, "the case tells nothing if all logits are alike"
    # float32 through 30 layers: 3e-6 of the largest value was seen.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def unit_norm(layer):
    """Make batch norm the identity, but for its epsilon."""
    layer.weight.data.fill_(math.sqrt(1 + 1e-5))
    layer.bias.data.zero_()


def test_attention_by_hand():
    """Two channels of means 2 and 1 cross over: weighed by sigmoid(1) and sigmoid(-4)."""
    layer = AttentionRefinement(2, 2).eval()
    layer.conv.conv.weight.data = torch.zeros(2, 2, 3, 3)
    layer.conv.conv.weight.data[:, :, 1, 1] = torch.eye(2)
    layer.conv_atten.weight.data = torch.tensor([[0.0, 1.0], [-2.0, 0.0]])[..., None, None]
    unit_norm(layer.conv.bn)
    unit_norm(layer.bn_atten)
    features = torch.tensor([[[[1.0, 3.0]], [[-4.0, 2.0]]]])
    expected = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])
    expected[:, 0] *= 1 / (1 + math.exp(-1))
    expected[:, 1] *= 1 / (1 + math.exp(4))
    torch.testing.assert_close(layer(features), expected)


def test_fusion_by_hand():
    """Four channels of means 1, 2, 3, 0: only the third is asked for, by 0.5 * 3 - 0.5."""
    layer = FeatureFusion(4, 4).eval()
    layer.convblk.conv.weight.data = torch.eye(4)[..., None, None]
    unit_norm(layer.convblk.bn)
    layer.conv1.weight.data = torch.tensor([[-1.0, 0.0, 1.0, 0.0]])[..., None, None]
    layer.conv2.weight.data = torch.tensor([0.0, 0.0, 0.75, 0.0])[:, None, None, None]
    fine = torch.tensor([[[[0.0, 2.0]], [[2.0, 2.0]]]])
    context = torch.tensor([[[[3.0, 3.0]], [[-1.0, 0.0]]]])
    asked = 1 + 1 / (1 + math.exp(-0.75 * (3 - 1)))
    expected = torch.tensor([[[[0.0, 3.0]], [[3.0, 3.0]], [[3.0 * asked] * 2], [[0.0, 0.0]]]])
    torch.testing.assert_close(layer(fine, context), expected)


def test_a_residual_block_keeps_what_its_convolutions_do_not_touch():
    layer = ResidualBlock(3, 3, stride=1).eval()
    layer.conv2.weight.data.zero_()
    features = torch.tensor([1.0, -2.0, 3.0])[None, :, None, None].expand(1, 3, 4, 4)
    torch.testing.assert_close(layer(features), features.relu())


def test_colors_are_shifted_and_scaled_by_hand():
    picture = np.zeros((1, 2, 3), dtype=np.uint8)
    picture[0, 0], picture[0, 1] = (255, 0, 102), (0, 255, 0)
    expected = torch.tensor(
        [
            [(1 - 0.485) / 0.229, -0.485 / 0.229],
            [-0.456 / 0.224, (1 - 0.456) / 0.224],
            [(0.4 - 0.406) / 0.225, -0.406 / 0.225],
        ]
    )[None, :, None]
    torch.testing.assert_close(normalized(picture), expected)


def test_probabilities_are_those_of_the_network(weights, tmp_path):
    # Random weights are surer of themselves than learned ones.
    name, path = "conv_out.conv_out.weight", tmp_path / "calm.pth"
    torch.save(weights | {name: 0.02 * weights[name]}, path)
    picture = np.random.default_rng(0).integers(0, 255, (FACE_SIDE, FACE_SIDE, 3), dtype=np.uint8)
    found = FaceParsingNetwork(path, device=torch.device("cpu")).probabilities(picture)
    assert found.shape == (len(CelebAMaskClass), FACE_SIDE, FACE_SIDE)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    with torch.inference_mode():
        expected = load_bisenet(path)(normalized(picture))[0].softmax(dim=0).numpy()
    # bfloat16, where the CPU has it, keeps 8 bits: 0.08 at worst was seen, 0.001 on average.
    assert np.abs(found - expected).mean() < 0.003
    assert np.abs(found - expected).max() < 0.15


class RunsCode:
    """Pickled, it wants to write a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Say what the pickle calls."""
        return (open, (self.path, "w"))


def broken(weights, case, folder):
    """What a file could hold instead of the weights."""
    renamed = {f"module.{name}": value for name, value in weights.items()}
    other = weights | {"conv_out.conv_out.weight": torch.zeros(11, 256, 1, 1)}
    lacking = {name: value for name, value in weights.items() if name != "ffm.conv2.weight"}
    return {
        "lacking": lacking,
        "renamed": renamed,
        "more": weights | {"sp.conv1.conv.weight": torch.zeros(1)},
        "other": other,
        "list": list(weights.values()),
        "text": weights | {"ffm.conv1.weight": "weights"},
        "code": RunsCode(str(folder / "written")),
    }[case]


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("lacking", "it has no ffm.conv2.weight"),
        ("renamed", "it has no cp.resnet.conv1.weight"),
        ("more", "sp.conv1.conv.weight is not part of it"),
        ("other", r"conv_out.conv_out.weight has the shape \(11, 256, 1, 1\), expected \(19, "),
        ("list", "it holds a list"),
        ("text", r"ffm.conv1.weight has the shape \(\), expected \(64, 256, 1, 1\)"),
        ("code", "cannot be read as weights of BiSeNet"),
    ],
)
def test_other_weights_are_refused_in_one_line(weights, tmp_path, case, message):
    path = tmp_path / "79999_iter.pth"
    torch.save(broken(weights, case, tmp_path), path)
    with pytest.raises(SspnerfError, match=message) as caught:
        load_bisenet(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "written").exists()


@pytest.mark.refuses
@pytest.mark.parametrize("content", [b"", b"<html>Too many downloads</html>", b"PK\x03\x04cut off"])
def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "79999_iter.pth"
    path.write_bytes(content)
    with pytest.raises(SspnerfError, match="cannot be read as weights of BiSeNet") as caught:
        load_bisenet(path)
    assert "\n" not in str(caught.value)
