"""Which implementation of an operation runs on a device, and why.

Every operation has a PyTorch reference, which runs anywhere, and may have faster twins of the same
signature. The choice is made here and nowhere else.
"""

import functools
import os
from typing import Literal, NamedTuple

import torch

from sspnerf.errors import BackendError

BackendName = Literal["reference", "numba"]
BACKEND_VARIABLE = "SSPNERF_BACKEND"


class Backend(NamedTuple):
    """A chosen implementation."""

    name: BackendName
    """Which one."""
    reason: str
    """Why, in words; `sspnerf info` prints it."""


@functools.cache
def _numba_failure() -> str | None:
    """Return why Numba cannot run here, or None if it can; tried once."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def choose(device: torch.device) -> Backend:
    """Choose the implementation for tensors on a device.

    The environment variable SSPNERF_BACKEND (auto, reference, numba) overrides, for debugging.

    Raises:
        BackendError: If the variable names a backend that is unknown or cannot run there.
    """
    asked = os.environ.get(BACKEND_VARIABLE, "auto")
    if asked == "reference":
        return Backend("reference", f"{BACKEND_VARIABLE} asks for it")
    if asked not in ("auto", "numba"):
        raise BackendError(
            f"{BACKEND_VARIABLE} is {asked}; expected auto, reference or numba",
            "unset it to let the device decide",
        )
    obstacle = (
        f"numba runs on the CPU, not on {device.type}" if device.type != "cpu" else _numba_failure()
    )
    if obstacle is None:
        return Backend("numba", "compiled kernels for the CPU")
    if asked == "numba":
        raise BackendError(f"the numba backend cannot run: {obstacle}", "use reference instead")
    return Backend("reference", obstacle)


@functools.cache
def field_dtype(device: torch.device) -> torch.dtype:
    """Choose the number type inside fields: bfloat16 where the device is good at it.

    Elsewhere (older CPUs) bfloat16 is emulated and slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        # Underscored in torch since 2.5 and the only word on it; absent means "do not rely on it".
        is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if is_supported() else torch.float32
    return torch.float32
