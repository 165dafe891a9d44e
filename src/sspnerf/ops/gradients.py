"""How much of a gradient passes."""

from jaxtyping import Float
from torch import Tensor


def scale_gradient(x: Float[Tensor, "*axes"], share: float) -> Float[Tensor, "*axes"]:
    """Return the same numbers; of their gradient only a share passes back.

    Example:
        >>> import torch
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> scale_gradient(x, 0.25)
        tensor(3., grad_fn=<LerpBackward0>)
        >>> scale_gradient(x, 0.25).backward()
        >>> x.grad
        tensor(0.2500)
    """
    if share == 1:
        return x
    # Between two equal numbers, so that nothing is rounded.
    return x.detach().lerp(x, share)
