"""Multi-resolution plane grids: features on three axis-aligned planes per level.

Shared convention:

    table        all nodes of all levels in one flat tensor: (level, plane, row, column, feature)
    planes       xy, xz, yz; the first-named axis runs along the columns
    positions    in [-1, 1] along each axis, where the first and the last node lie; beyond, the
                 border's value holds; a coordinate that is no number reads node 0
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.ops import backend


def table_size(resolutions: Sequence[int], features: int) -> int:
    """Count the numbers in a table.

    Example:
        >>> table_size([2, 3], 4)
        156
    """
    return sum(3 * resolution * resolution * features for resolution in resolutions)


def lookup_planes(
    table: Float[Tensor, " entries"],
    positions: Float[Tensor, "points 3"],
    *,
    resolutions: Sequence[int],
    features: int,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "points channels"]:
    """Read the grids at positions, bilinearly on each plane.

    Differentiable in both arguments; the gradient of the positions is zero beyond [-1, 1].

    Args:
        table: The stored features. Shape (entries,), see `table_size`.
        positions: Where to read, [-1, 1]. Shape (points, 3).
        resolutions: Nodes along the side of each level's planes.
        features: Numbers at each node.
        dtype: What the result is rounded to; sums are float32.

    Returns:
        Features of all levels and planes, level first. Shape (points, levels * 3 * features).

    Raises:
        ValueError: If the positions are not points, a level has no cell, or the table's size does
            not fit.

    Source: tri-plane grids as in Chan et al. 2022 (arXiv:2112.07945), with the levels of Müller et
        al. 2022 (arXiv:2201.05989), concatenated.
    """
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(f"positions have shape {tuple(positions.shape)}; expected (points, 3)")
    if min(resolutions, default=0) < 2:
        raise ValueError(f"resolutions are {tuple(resolutions)}; expected 2 or more nodes each")
    expected = table_size(resolutions, features)
    if table.shape != (expected,):
        raise ValueError(f"table has {table.numel()} entries; expected {expected}")
    chosen = backend.choose(table.device).name
    if chosen != "reference" and table.dtype == torch.float32:
        found: Tensor = _KernelLookup.apply(  # type: ignore[no-untyped-call]
            table, positions, tuple(resolutions), features, dtype, chosen
        )
        return found
    read = reference_lookup_planes(table, positions, resolutions=resolutions, features=features)
    return read if table.dtype == torch.float64 else read.to(dtype)


def reference_lookup_planes(
    table: Float[Tensor, " entries"],
    positions: Float[Tensor, "points 3"],
    *,
    resolutions: Sequence[int],
    features: int,
) -> Float[Tensor, "points channels"]:
    """Do the same as `lookup_planes` in PyTorch: the specification."""
    found, start = [], 0
    # PyTorch's lookup reads, and writes gradients to, memory that is not ours where there is NaN.
    positions = positions.nan_to_num(nan=-1.0, posinf=2.0, neginf=-2.0)
    grid = torch.stack((positions[:, [0, 1]], positions[:, [0, 2]], positions[:, [1, 2]]))
    for resolution in resolutions:
        size = 3 * resolution * resolution * features
        planes = table[start : start + size].view(3, resolution, resolution, features)
        start += size
        read = torch.nn.functional.grid_sample(
            planes.permute(0, 3, 1, 2),
            grid[:, :, None],
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )
        found.append(read[..., 0].permute(2, 0, 1).reshape(len(positions), 3 * features))
    return torch.cat(found, dim=1)


@functools.cache
def _layout(resolutions: tuple[int, ...], features: int) -> tuple[Tensor, Tensor]:
    """Return each level's resolution and where it starts in the table, on the CPU."""
    sizes = torch.tensor(resolutions)
    entries = 3 * sizes * sizes * features
    return sizes, entries.cumsum(0) - entries


class _KernelLookup(torch.autograd.Function):
    """The compiled lookup with its hand-written derivatives."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's context
        table: Tensor,
        positions: Tensor,
        resolutions: tuple[int, ...],
        features: int,
        dtype: torch.dtype,
        chosen: backend.BackendName,
    ) -> Tensor:
        positions = positions.detach().float().contiguous()
        table = table.contiguous()
        layout = (*_layout(resolutions, features), features)
        out = positions.new_empty(len(positions), len(resolutions) * 3 * features, dtype=dtype)
        kernels = backend.kernels(chosen, "plane_grid")
        kernels.plane_grid_forward(positions, table, *layout, out)
        ctx.save_for_backward(table, positions)
        ctx.layout, ctx.kernels = layout, kernels
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ANN401 - autograd's signature
        table, positions = ctx.saved_tensors
        grad = grads[0].contiguous()
        grad_table = grad_positions = None
        if ctx.needs_input_grad[0]:
            grad_table = torch.zeros_like(table)
            ctx.kernels.plane_grid_table_backward(positions, grad, *ctx.layout, grad_table)
        if ctx.needs_input_grad[1]:
            grad_positions = torch.empty_like(positions)
            ctx.kernels.plane_grid_position_backward(
                positions, grad, table, *ctx.layout, grad_positions
            )
        return grad_table, grad_positions, None, None, None, None
