"""Single pixels of many pictures that lie on the device; see `ops.pixel_gathering`."""

from typing import no_type_check

import triton
import triton.language as tl
from torch import Tensor

from sspnerf.ops.triton_kernels.launch import launch
from sspnerf.ops.triton_kernels.types import Pointer, Scalar

RAYS = 256
"""Rays that one program reads the pixels of."""
WHITE = tl.constexpr(255.0)


@triton.jit
@no_type_check
def _gather_pixels(
    frames: Pointer, labels: Pointer, mask: Pointer, background: Pointer, frame: Pointer,
    pixel: Pointer, color: Pointer, label: Pointer, person: Pointer, behind: Pointer,
    rays: Scalar, pixels: Scalar, RAYS: tl.constexpr,
) -> None:  # fmt: skip
    ray = tl.program_id(0) * RAYS + tl.arange(0, RAYS)
    is_ray = ray < rays
    inside = tl.load(pixel + ray, mask=is_ray, other=0)
    place = tl.load(frame + ray, mask=is_ray, other=0) * pixels + inside
    # Correctly rounded: a division by 255 is a division, as everywhere else.
    for channel in tl.static_range(3):
        value = tl.load(frames + place * 3 + channel, mask=is_ray, other=0).to(tl.float32)
        tl.store(color + ray * 3 + channel, tl.div_rn(value, WHITE), mask=is_ray)
        value = tl.load(background + inside * 3 + channel, mask=is_ray, other=0).to(tl.float32)
        tl.store(behind + ray * 3 + channel, tl.div_rn(value, WHITE), mask=is_ray)
    tl.store(label + ray, tl.load(labels + place, mask=is_ray, other=0).to(tl.int64), mask=is_ray)
    value = tl.load(mask + place, mask=is_ray, other=0).to(tl.float32)
    tl.store(person + ray, tl.div_rn(value, WHITE), mask=is_ray)


def gather_pixels(
    frames: Tensor, labels: Tensor, mask: Tensor, background: Tensor, frame: Tensor, pixel: Tensor,
    color: Tensor, label: Tensor, person: Tensor, behind: Tensor,
) -> None:  # fmt: skip
    """Fill color, label, person and behind with what the pictures show at each ray's pixel.

    frames: (frames, pixels, 3); labels, mask: (frames, pixels); background: (pixels, 3); all that
    is filled: (rays, ...). frame and pixel are inside.
    """
    rays = len(frame)
    launch(
        _gather_pixels, triton.cdiv(rays, RAYS),
        frames, labels, mask, background, frame, pixel, color, label, person, behind,
        rays, len(background), RAYS=RAYS,
    )  # fmt: skip
