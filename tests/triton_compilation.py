"""Compile every Triton kernel as the operations start it, for a GPU that need not be there.

Run as a program, without TRITON_INTERPRET. Prints the kernels compiled, and below those that exist.
"""

import importlib
import pkgutil
import re
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sspnerf.ops import backend, band, compositing, plane_grid, triton_kernels

# Hopper: an H100, say. 32 threads run in step.
TARGET = GPUTarget("cuda", 90, 32)
TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
}
MODULES = [
    importlib.import_module(f"{triton_kernels.__name__}.{each.name}")
    for each in pkgutil.iter_modules(triton_kernels.__path__)
]
compiled = set()


def written_type(argument):
    if isinstance(argument, torch.Tensor):
        return "*" + TYPES[argument.dtype]
    return "fp32" if isinstance(argument, float) else "i32"


def compile_only(kernel, programs, *arguments, **constants):
    """Stand in for `launch`: outputs stay as they are."""
    names = [name for name in kernel.arg_names if name not in constants]
    types = dict(zip(names, map(written_type, arguments), strict=True))
    source = ASTSource(kernel, types | dict.fromkeys(constants, "constexpr"), constants)
    code = triton.compile(source, target=TARGET, options={"enable_fp_fusion": True}).asm["ptx"]
    assert not re.search(r"\b(atom|red)\.", code), f"{kernel.__name__} has atomics"
    compiled.add(f"{kernel.__module__.split('.')[-1]}.{kernel.__name__}")


def differentiate(*outputs):
    learned = [each for each in outputs if each.requires_grad]
    torch.autograd.backward(learned, [torch.ones_like(each) for each in learned])


def use_all():
    rays = [torch.ones(3, 3, requires_grad=True) for _ in range(4)]
    density, t_edges = torch.ones(3, 4, requires_grad=True), torch.ones(3, 5)
    color = torch.ones(3, 4, 3, dtype=torch.bfloat16, requires_grad=True)
    for features, dtype in ((3, torch.float32), (4, torch.bfloat16)):
        table = torch.ones(plane_grid.table_size((2, 4), features), requires_grad=True)
        layout = {"resolutions": (2, 4), "features": features}
        differentiate(plane_grid.lookup_planes(table, rays[0], **layout, dtype=dtype))
    differentiate(*compositing.composite(density, t_edges, color.float()))
    for values in (color, color.float()):
        differentiate(
            *compositing.composite_portrait(density, t_edges, values, values, semantic_share=0.1)
        )
    surface, height = torch.ones(3, 3), torch.tensor(1.0)
    band.hit_surface(surface, *rays[:2], extent=1.0)
    band.place_rays(surface, *rays, extent=1.0, neck_height=height, neck_softness=1.0)
    differentiate(*band.band_points(t_edges[:, 0], *rays, front=1.0, back=1.0, samples=4))
    pictures = [torch.ones(1, 1, 3, dtype=torch.uint8), *torch.ones(2, 1, 1, dtype=torch.uint8)]
    place, out = torch.zeros(1, dtype=torch.int64), torch.ones(1, 3)
    gather = backend.kernels("triton", "pixel_gathering").gather_pixels
    gather(*pictures, pictures[0][0], place, place, out, place, out[0], out)


if __name__ == "__main__":
    for module in MODULES:
        if hasattr(module, "launch"):
            patch.object(module, "launch", compile_only).start()
    patch.object(backend, "choose", lambda _: backend.Backend("triton", "to compile it")).start()
    use_all()
    kernels = {
        f"{module.__name__.split('.')[-1]}.{name}"
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, triton.JITFunction) and "program_id" in value.src
    }
    print(*sorted(compiled))  # noqa: T201
    print(*sorted(kernels))  # noqa: T201
