"""How fast each kernel is: against its PyTorch reference, and against what bounds it.

    python -m bench.kernels --clip CLIP [--rays 4096] [--device cpu] [--json]

The inputs are those of a training step. Bounds are measured in the same run: copying as many bytes,
reading rows of 32 bytes at random from as large a table, matrix products 64 wide, exponentials. The
one that needs longest is the bound; `of_bound` is its time as part of the kernel's. Real samples
lie closer together than random ones, so that gathers may beat their bound.
"""

import argparse
import functools
import statistics
from collections.abc import Callable

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.kernel_cases import Case, Work, all_cases, inputs_of
from bench.machine import (
    Report,
    Row,
    alternate,
    check_size,
    options,
    positive,
    ratio,
    run_command,
    seconds_of,
)
from sspnerf.data.clip import open_clip
from sspnerf.errors import UsageError
from sspnerf.ops.backend import choose, field_dtype

ROW = 8
GATHERS = 1_000_000
WIDE, MANY = 64, 65_536
EXPS = 1_000_000
MEMORY_BYTES, CACHE_BYTES = 256e6, 1e6
BOUND_ROUNDS = 5


def measure(chosen: argparse.Namespace) -> Report:
    """Take all figures."""
    clip, device = open_clip(chosen.clip), torch.device(chosen.device)
    check_size(chosen.size, clip.manifest.width)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device is cuda and there is no such device", "leave it out")
    inputs = inputs_of(clip, rays=chosen.rays, device=device)
    bounds = Bounds(device)
    report = Report(
        "kernels",
        {
            "clip": str(chosen.clip),
            "rays": chosen.rays,
            "samples": inputs.points.head.shape[1],
            "device": chosen.device,
            "backend": choose(device).name,
            "rounds": chosen.rounds,
        },
    )
    report.tables["kernels"] = [
        kernel_row(case, bounds, rounds=chosen.rounds) for case in all_cases(inputs)
    ]
    report.tables["bounds"] = bounds.rows()
    report.notes += [
        "times_reference: how many times as long the PyTorch reference takes, median over rounds",
        "mb: arguments and results, once each; gathers: reads at random places",
        "of_bound: what the bound alone would take, as part of what the kernel takes",
    ]
    return report


def kernel_row(case: Case, bounds: "Bounds", *, rounds: int) -> Row:
    """Measure one kernel and its reference in turn."""
    times = alternate({"fast": case.fast, "reference": case.reference}, rounds=rounds)
    seconds, work = statistics.median(times["fast"]), case.work
    bound, at_least = bounds.of(work)
    return {
        "kernel": case.name,
        "ms": 1e3 * seconds,
        "reference_ms": 1e3 * statistics.median(times["reference"]),
        "times_reference": ratio(times["reference"], times["fast"]),
        "mb": work.bytes / 1e6,
        "gb_per_s": work.bytes / seconds / 1e9,
        "million_gathers_per_s": work.gathers / seconds / 1e6,
        "gflop_per_s": work.flops / seconds / 1e9,
        "bound": bound,
        "of_bound": at_least / seconds,
    }


class Bounds:
    """What this machine can do, measured when it is first asked."""

    def __init__(self, device: torch.device) -> None:
        """Measure nothing yet."""
        self.device = device
        self.copy = functools.cache(self._copy)
        self.gather = functools.cache(self._gather)
        self.product = functools.cache(self._product)
        self.exponential = functools.cache(self._exponential)

    def of(self, work: Work) -> tuple[str, float]:
        """Say what bounds a kernel, and how long that takes at least, s."""
        needs = {
            "memory": work.bytes / self.copy(_rounded(work.bytes)),
            "gathers": work.gathers / self.gather(_rounded(work.gathered_from)),
            "arithmetic": work.flops
            / self.product(field_dtype(self.device) if work.is_half else torch.float32),
            "exponentials": work.exps / self.exponential(),
        }
        slowest = max(needs, key=lambda name: needs[name])
        return slowest, needs[slowest]

    def rows(self) -> list[Row]:
        """List the machine's figures."""
        found = [
            (f"copy of {size / 1e6:.0f} MB, read + written", "GB/s", self.copy(size) / 1e9)
            for size in (MEMORY_BYTES, CACHE_BYTES)
        ]
        found += [
            (f"random rows of 32 bytes from {size / 1e6:.0f} MB", "million/s",
             self.gather(size) / 1e6)
            for size in (MEMORY_BYTES, CACHE_BYTES)
        ]  # fmt: skip
        found += [
            (f"product {WIDE} wide, {str(t).removeprefix('torch.')}", "GFLOP/s",
             self.product(t) / 1e9)
            for t in (torch.float32, torch.bfloat16)
        ]  # fmt: skip
        found.append(("exponentials", "million/s", self.exponential() / 1e6))
        return [{"what": what, "unit": unit, "value": value} for what, unit, value in found]

    def _copy(self, size: float) -> float:
        """Bytes per second, read and written together."""
        source = torch.zeros(max(1, int(size) // 8), device=self.device)
        target = torch.empty_like(source)
        return 8 * len(source) / _median_s(lambda: target.copy_(source))

    def _gather(self, size: float) -> float:
        """Rows per second."""
        nodes = max(1, int(size) // (4 * ROW))
        index = np.random.default_rng(0).integers(0, nodes, GATHERS)
        if self.device.type == "cpu":
            table, out = np.zeros((nodes, ROW), np.float32), np.empty(GATHERS, np.float32)
            return GATHERS / _median_s(lambda: _add_rows(table, index, out))
        rows: Tensor = torch.zeros(nodes, ROW, device=self.device)
        places = torch.from_numpy(index).to(self.device)
        return GATHERS / _median_s(lambda: rows[places].sum(1))

    def _product(self, number_type: torch.dtype) -> float:
        """Floating-point operations per second."""
        many = torch.ones(MANY, WIDE, device=self.device, dtype=number_type)
        weight = torch.ones(WIDE, WIDE, device=self.device, dtype=number_type)
        return 2.0 * MANY * WIDE * WIDE / _median_s(lambda: many @ weight)

    def _exponential(self) -> float:
        """Exponentials per second."""
        given = torch.zeros(EXPS, device=self.device)
        out = torch.empty_like(given)
        return EXPS / _median_s(lambda: torch.exp(given, out=out))


def _rounded(size: float) -> float:
    """Round up to a power of two, so that few sizes are measured; at least 64 KB."""
    return 2.0 ** np.ceil(np.log2(max(size, 65_536.0)))


def _median_s(call: Callable[[], object]) -> float:
    call()
    return statistics.median(seconds_of(call) for _ in range(BOUND_ROUNDS))


@numba.njit(parallel=True, fastmath=True, cache=True)
def _add_rows(
    table: NDArray[np.float32], index: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    for i in numba.prange(index.shape[0]):
        total = np.float32(0)
        for k in range(table.shape[1]):
            total += table[index[i], k]
        out[i] = total


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__)
    parser.add_argument("--rays", type=positive, default=4096, help="rays of a step")
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args(given)


if __name__ == "__main__":
    run_command(measure, arguments())
