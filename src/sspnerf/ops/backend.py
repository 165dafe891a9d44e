"""Which implementation of an operation runs on a device, and why.

Every operation has a PyTorch reference, which runs anywhere, and may have faster twins of the same
signature: Numba's for the CPU, Triton's for CUDA devices. The choice is made here and nowhere else.
"""

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sspnerf.errors import BackendError

BackendName = Literal["reference", "numba", "triton"]
BACKEND_VARIABLE = "SSPNERF_BACKEND"
# Triton's own, read once, when it is imported: 1 lets Python run its kernels, without a GPU and
# very slowly, to test them.
INTERPRET_VARIABLE = "TRITON_INTERPRET"


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


@functools.cache
def _triton_failure(*, is_interpreted: bool) -> str | None:
    """Return why Triton cannot run here, or None if it can; tried once."""
    try:
        import triton

        if not is_interpreted:
            # Builds what talks to the driver, once per machine: fails without a C compiler.
            triton.runtime.driver.active.get_current_device()
    except Exception as error:
        # Whatever it is, the reference still runs.
        return f"triton cannot start here: {error}"
    return None


def _numba_obstacle(device: torch.device) -> str | None:
    if device.type != "cpu":
        return f"numba runs on the CPU, not on {device.type}"
    return _numba_failure()


def _triton_obstacle(device: torch.device) -> str | None:
    is_interpreted = os.environ.get(INTERPRET_VARIABLE) == "1"
    if device.type == "cpu" and not is_interpreted:
        return f"triton runs on CUDA devices; on the CPU it needs {INTERPRET_VARIABLE}=1"
    if device.type not in ("cpu", "cuda"):
        return f"triton runs on CUDA devices, not on {device.type}"
    return _triton_failure(is_interpreted=is_interpreted)


def choose(device: torch.device) -> Backend:
    """Choose the implementation for tensors on a device.

    The environment variable SSPNERF_BACKEND (auto, reference, numba, triton) overrides, for
    debugging. Triton on the CPU must be asked for, and needs TRITON_INTERPRET=1 as well.

    Raises:
        BackendError: If the variable names a backend that is unknown or cannot run there.
    """
    asked = os.environ.get(BACKEND_VARIABLE, "auto")
    if asked == "reference":
        return Backend("reference", f"{BACKEND_VARIABLE} asks for it")
    if asked not in ("auto", "numba", "triton"):
        raise BackendError(
            f"{BACKEND_VARIABLE} is {asked}; expected auto, reference, numba or triton",
            "unset it to let the device decide",
        )
    name: BackendName
    if asked == "triton" or (asked == "auto" and device.type == "cuda"):
        name, obstacle = "triton", _triton_obstacle(device)
        kind = "compiled kernels for CUDA devices"
        if device.type == "cpu":
            kind = f"kernels for CUDA devices, interpreted: {INTERPRET_VARIABLE}=1"
    else:
        name, obstacle, kind = "numba", _numba_obstacle(device), "compiled kernels for the CPU"
    if obstacle is None:
        return Backend(name, kind)
    if asked != "auto":
        raise BackendError(f"the {name} backend cannot run: {obstacle}", "use reference instead")
    return Backend("reference", obstacle)


class Kernels:
    """The kernels of one family; they take tensors and numbers, whatever they are written in."""

    def __init__(self, name: BackendName, family: str) -> None:
        self._module = importlib.import_module(f"sspnerf.ops.{name}_kernels.{family}")
        self._takes_arrays = name == "numba"

    def __getattr__(self, kernel: str) -> Callable[..., None]:
        """Return a kernel by its name."""
        function: Callable[..., None] = getattr(self._module, kernel)
        if not self._takes_arrays:
            return function
        return lambda *arguments: function(*map(_as_array, arguments))


def _as_array(argument: Any) -> Any:  # noqa: ANN401 - what a compiled function takes
    """Return what Numba's kernels read: an array over a tensor's memory, or a float32.

    bfloat16, which NumPy does not have, becomes its bits (int16); a tensor without axes a number.
    """
    if isinstance(argument, Tensor):
        if argument.ndim == 0:
            return np.float32(argument.item())
        if argument.dtype == torch.bfloat16:
            argument = argument.view(torch.int16)
        return argument.detach().numpy()
    return np.float32(argument) if isinstance(argument, float) else argument


@functools.cache
def kernels(name: BackendName, family: str) -> Kernels:
    """Load the kernels of a family: a file in `numba_kernels/` or `triton_kernels/`.

    Example:
        >>> call = kernels("numba", "plane_grid").plane_grid_forward
    """
    return Kernels(name, family)


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
