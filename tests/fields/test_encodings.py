"""The frequency encoding (fields/encodings.py): order, frequencies and sizes."""

import math

import pytest
import torch

from sspnerf.fields.encodings import encoded_width, frequency_encoding


def test_two_coordinates_by_hand():
    x, y = 0.3, -1.1
    expected = [
        x, y,
        math.sin(x), math.sin(y), math.cos(x), math.cos(y),
        math.sin(2 * x), math.sin(2 * y), math.cos(2 * x), math.cos(2 * y),
        math.sin(4 * x), math.sin(4 * y), math.cos(4 * x), math.cos(4 * y),
    ]  # fmt: skip
    torch.testing.assert_close(
        frequency_encoding(torch.tensor([x, y]), bands=3), torch.tensor(expected)
    )


def test_no_bands_leave_the_coordinates_as_they_are(generator):
    x = torch.randn(4, 3, generator=generator)
    assert torch.equal(frequency_encoding(x, bands=0), x)


def test_the_highest_of_ten_bands_is_exact_in_float32(generator):
    x = torch.rand(100, 3, generator=generator) * 2 - 1
    expected = frequency_encoding(x.double(), bands=10)
    # 512 x is exact, so that only the sine itself rounds.
    torch.testing.assert_close(frequency_encoding(x, bands=10), expected.float())


@pytest.mark.parametrize("points", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize(("dim", "bands"), [(3, 10), (1, 2), (6, 0)])
def test_the_width_is_as_announced_for_any_axes(points, dim, bands):
    encoded = frequency_encoding(torch.zeros(*points, dim), bands=bands)
    assert encoded.shape == (*points, encoded_width(dim, bands=bands))


def test_derivatives_match_finite_differences(generator):
    x = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: frequency_encoding(x, bands=3), x)


def test_ad_nerf_has_63_numbers_of_a_position_and_27_of_a_direction():
    assert encoded_width(3, bands=10) == 63
    assert encoded_width(3, bands=4) == 27


@pytest.mark.refuses
def test_negative_bands_are_refused():
    with pytest.raises(ValueError, match="bands is -1; expected at least 0"):
        frequency_encoding(torch.zeros(3), bands=-1)
