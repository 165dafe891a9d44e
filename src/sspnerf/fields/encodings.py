"""Fixed lifts of coordinates, so that a perceptron can follow fine detail."""

import torch
from jaxtyping import Float
from torch import Tensor


def encoded_width(dim: int, *, bands: int) -> int:
    """Return how many numbers `frequency_encoding` makes of `dim`.

    Example:
        >>> encoded_width(3, bands=10)
        63
    """
    return dim * (1 + 2 * bands)


def frequency_encoding(
    x: Float[Tensor, "*points dim"], *, bands: int
) -> Float[Tensor, "*points dim*(1+2*{bands})"]:
    r"""Lift coordinates: themselves, then their sines and cosines at doubling frequencies.

    .. math:: \gamma(x) = (x, \sin x, \cos x, \sin 2x, \cos 2x, \ldots, \cos 2^{L-1} x)

    where L is `bands`; each entry stands for all coordinates. Keep x in float32: the phase of the
    highest band does not survive fewer bits.

    Args:
        x: Coordinates of about 1. Shape (*points, dim).
        bands: Number of frequencies, >= 0.

    Returns:
        The encoding. Shape (*points, dim * (1 + 2 * bands)).

    Raises:
        ValueError: If the number of bands is negative.

    Example:
        >>> frequency_encoding(torch.tensor([torch.pi / 2]), bands=1).round(decimals=2).abs()
        tensor([1.5700, 1.0000, 0.0000])

    Source: Mildenhall et al. 2020 (arXiv:2003.08934), eq. 4. Differs in: x itself comes first and
        there is no factor of pi, both as in that paper's code and in AD-NeRF's.
    """
    if bands < 0:
        raise ValueError(f"bands is {bands}; expected at least 0")
    frequency = 2.0 ** torch.arange(bands, device=x.device, dtype=x.dtype)
    phase = x[..., None, :] * frequency[:, None]
    waves = torch.stack((phase.sin(), phase.cos()), dim=-2)
    return torch.cat((x, waves.flatten(-3)), dim=-1)
