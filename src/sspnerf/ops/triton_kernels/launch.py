"""How a kernel is started."""

from typing import Any

import torch
from torch import Tensor


def launch(
    kernel: Any,  # noqa: ANN401 - Triton has no types
    programs: int,
    *arguments: Tensor | float | int,
    **constants: int,
) -> None:
    """Start a kernel's programs on the device of its first argument, if there are any.

    Multiplications and additions may share one rounding, as in the CPU's kernels.
    """
    if programs == 0:
        return
    with torch.cuda.device_of(arguments[0]):  # type: ignore[no-untyped-call]
        kernel[(programs,)](*arguments, **constants, enable_fp_fusion=True)
