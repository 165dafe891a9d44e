"""Each kernel beside its reference, on what a training step of a clip gives it to do.

A new kernel is one more function here that returns cases, named in `FAMILIES`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.portraits import float32_fields, learner_of
from sspnerf.config import PRESETS
from sspnerf.data.clip import Clip
from sspnerf.data.dataset import RayBatch
from sspnerf.data.pixel_sampling import PERSON_MARGIN_PX, PERSON_THRESHOLD
from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.fields.drive import Drive
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.fields.portrait_field import NECK_SOFTNESS_CM
from sspnerf.geometry.rays import RayBundle, cast_rays
from sspnerf.ops import band, compositing, pixel_gathering, pixel_groups, plane_grid
from sspnerf.render.volume import render_rays

FLOAT = 4
# Floating-point operations of one bilinear lookup but for its features: cell and weights.
CELL_FLOPS = 16
# Of one step towards the surface.
HIT_FLOPS = 30


class Work(NamedTuple):
    """What a kernel has to do at least."""

    bytes: float = 0
    """Read and written once each: arguments and results."""
    gathers: float = 0
    """Reads at places that only the data tell, of up to 32 bytes."""
    gathered_from: float = 0
    """Size of what these read from, bytes."""
    flops: float = 0
    exps: float = 0
    is_half: bool = False
    """Whether the flops are matrix products in bfloat16."""


class Case(NamedTuple):
    """A kernel and its reference."""

    name: str
    fast: Callable[[], object]
    reference: Callable[[], object]
    work: Work


Twin = Callable[..., Any]
Twins = tuple[Twin, Twin]
# Calls one of the twins with what the case is about.
Given = Callable[..., Any]


class Inputs(NamedTuple):
    """A step's rays and points."""

    clip: Clip
    driven: DrivenPlanes
    batch: RayBatch
    rays: RayBundle
    drive: Drive
    points: band.BandPoints


def inputs_of(clip: Clip, *, rays: int, device: torch.device) -> Inputs:
    """Draw a batch as training does, and place its samples."""
    learner = learner_of(clip, replace(PRESETS["fast"], rays_per_step=rays))
    usable, dataset = learner.dataset.usable, learner.dataset
    frames = learner.config.frames_per_step
    index = dataset.choose(usable, frames=frames, generator=learner.random)
    batch = dataset.draw(learner.sampler, index, rays=rays, generator=learner.random)
    poses, torso = learner.tracked.poses[index], learner.tracked.torso_poses[index]
    with torch.no_grad():
        drive = learner.driven.drive(
            learner.hear(index, augment=False),
            learner.tracked.blendshapes[index],
            poses=poses,
            torso_poses=torso,
            time=torch.zeros(len(index)),
        )
    camera = clip.manifest.intrinsics
    bundle = cast_rays(camera, batch.pixels, poses=poses, torso_poses=torso, slot=batch.slot)
    driven = learner.driven.to(device)
    assert isinstance(driven, DrivenPlanes)  # noqa: S101 - preset `fast`
    bundle = RayBundle(**{f.name: getattr(bundle, f.name).to(device) for f in fields(bundle)})
    distance = band.hit_surface(
        driven.field.surface, bundle.origin, bundle.direction, extent=driven.field.extent
    )
    settings = driven.config.band
    points = band.band_points(
        distance, *_ends(bundle), front=settings.front, back=settings.back, samples=settings.samples
    )
    drive = Drive(*(None if part is None else part.to(device) for part in drive))
    return Inputs(clip, driven, batch, bundle, drive, points)


def _ends(rays: RayBundle) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return rays.origin, rays.direction, rays.torso_origin, rays.torso_direction


def all_cases(inputs: Inputs) -> Iterator[Case]:
    """List every kernel."""
    for family in FAMILIES:
        yield from family(inputs)


def forward_case(name: str, twins: Twins, given: Given, work: Work) -> Case:
    """Let both twins answer."""
    fast, reference = (torch.no_grad()(functools.partial(given, twin)) for twin in twins)
    return Case(name, fast, reference, work)


def backward_case(
    name: str, twins: Twins, given: Given, leaves: Sequence[Tensor], work: Work
) -> Case:
    """Let both twins go back from random gradients of what they answer to the leaves.

    Args:
        name: What it is called.
        twins: Kernel and reference.
        given: Calls one of them with the leaves, and returns what can be gone back from.
        leaves: Where to go back to.
        work: What there is to do.
    """
    ways = []
    for twin in twins:
        starts = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        out = given(twin, *starts)
        generator = torch.Generator(out[0].device).manual_seed(0)
        grads = [torch.randn(o.shape, generator=generator, device=o.device) for o in out]
        ways.append(functools.partial(torch.autograd.grad, out, starts, grads, retain_graph=True))
    return Case(name, ways[0], ways[1], work)


def plane_grid_cases(inputs: Inputs) -> Iterator[Case]:
    """Lookup: forwards, and back to the table and to the positions."""
    field = inputs.driven.field
    sizes, features = field.config.resolutions, field.config.features
    positions = (inputs.points.head / field.extent).reshape(-1, 3).detach().contiguous()
    table = field.table.detach()
    twins = (plane_grid.lookup_planes, plane_grid.reference_lookup_planes)

    def given(twin: Twin, table: Tensor = table, positions: Tensor = positions) -> list[Tensor]:
        return [twin(table, positions, resolutions=sizes, features=features)]

    def given_positions(twin: Twin, positions: Tensor) -> list[Tensor]:
        return given(twin, positions=positions)

    lookups, points = len(positions) * 3 * len(sizes), len(positions)
    work = Work(
        bytes=FLOAT * (3 * points + lookups * features + table.numel()),
        gathers=2 * lookups,
        gathered_from=FLOAT * table.numel(),
        flops=lookups * (CELL_FLOPS + 7 * features),
    )
    yield forward_case("plane grid, forward", twins, given, work)
    # The table's gradient is set to zero, then read and written where points lie.
    added = work._replace(
        bytes=work.bytes + 2 * FLOAT * table.numel(), flops=lookups * (CELL_FLOPS + 8 * features)
    )
    yield backward_case("plane grid, back to the table", twins, given, [table], added)
    moved = work._replace(
        bytes=work.bytes + 3 * FLOAT * points, flops=lookups * (CELL_FLOPS + 14 * features)
    )
    yield backward_case("plane grid, back to positions", twins, given_positions, [positions], moved)


def compositing_cases(inputs: Inputs) -> Iterator[Case]:
    """Color and logits of one density: `composite`, and all at once."""
    t_edges, (rays, samples) = inputs.points.t_edges, inputs.points.head.shape[:2]
    share = inputs.driven.config.field.semantic_share
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(rays, samples, *shape, generator=generator).to(t_edges.device)

    def together(twin: Twin, density: Tensor, values: Tensor) -> list[Tensor]:
        return list(twin(density, t_edges, values))[:2]

    def apart(twin: Twin, density: Tensor, color: Tensor, logits: Tensor) -> list[Tensor]:
        return list(twin(density, t_edges, color, logits, semantic_share=share))[:3]

    density, color, logits = random(), random(3), random(SEMANTIC_CLASSES)
    values = torch.cat((color, logits), dim=-1)
    asked, channels = rays * samples, values.shape[-1]
    forward = Work(
        bytes=FLOAT * (asked * (3 + channels) + rays * (2 + channels)),
        flops=asked * (2 * channels + 4),
        exps=asked,
    )
    back = Work(bytes=FLOAT * asked * (4 + 2 * channels), flops=asked * (5 * channels + 6))
    for name, twins, given, leaves in (
        ("composite", (compositing.composite, compositing.reference_composite), together,
         (density, values)),
        ("composite portrait",
         (compositing.composite_portrait, compositing.reference_composite_portrait), apart,
         (density, color, logits)),
    ):  # fmt: skip
        answer = functools.partial(_with_leaves, given, leaves)
        yield forward_case(f"{name}, forward", twins, answer, forward)
        yield backward_case(f"{name}, backward", twins, given, leaves, back)


def _with_leaves(given: Given, leaves: Sequence[Tensor], twin: Twin) -> list[Tensor]:
    return given(twin, *leaves)


def band_cases(inputs: Inputs) -> Iterator[Case]:
    """Where rays meet the surface, and the points around it."""
    field, ends = inputs.driven.field, _ends(inputs.rays)
    rays, settings = len(ends[0]), inputs.driven.config.band
    steps, nodes = rays * band.FIXED_POINT_STEPS, FLOAT * field.surface.numel()

    def hit(twin: Twin) -> Tensor:
        return twin(field.surface, *ends[:2], extent=field.extent)

    def place(twin: Twin) -> tuple[Tensor, ...]:
        return twin(
            field.surface, *ends, extent=field.extent, neck_height=field.neck_height,
            neck_softness=NECK_SOFTNESS_CM,
        )  # fmt: skip

    distance = hit(band.hit_surface)

    def points(twin: Twin, *ends: Tensor) -> list[Tensor]:
        found = twin(
            distance, *ends, front=settings.front, back=settings.back, samples=settings.samples
        )
        return list(found)[1:]

    yield forward_case(
        "hit surface", (band.hit_surface, band.reference_hit_surface), hit,
        Work(FLOAT * 7 * rays, 2 * steps, nodes, HIT_FLOPS * steps),
    )  # fmt: skip
    yield forward_case(
        "place rays", (band.place_rays, band.reference_place_rays), place,
        Work(FLOAT * 15 * rays, 4 * steps, nodes, 2 * HIT_FLOPS * steps, 2 * rays),
    )  # fmt: skip
    twins, asked = (band.band_points, band.reference_band_points), rays * settings.samples
    work = Work(FLOAT * (13 * rays + 7 * asked), flops=16 * asked)
    answer = functools.partial(_with_leaves, points, ends)
    yield forward_case("band points, forward", twins, answer, work)
    yield backward_case("band points, backward", twins, points, ends, work)


def pixel_cases(inputs: Inputs) -> Iterator[Case]:
    """Which pixels are of a class, and what is seen there."""
    clip, batch = inputs.clip, inputs.batch
    first = int(batch.frame_index[0])
    labels, mask = clip.labels[first], clip.mask[first]
    near = {"mask": mask, "threshold": PERSON_THRESHOLD, "radius": PERSON_MARGIN_PX}
    yield Case(
        "group pixels of a frame",
        lambda: pixel_groups.group_pixels(labels, count=SEMANTIC_CLASSES, **near),
        lambda: pixel_groups.reference_group_pixels(
            labels, count=SEMANTIC_CLASSES, labels=labels, **near
        ),
        Work(bytes=2 * labels.size),
    )
    pixel = batch.pixels.long().numpy()
    where = {
        "frame": batch.frame_index[batch.slot.numpy()],
        "pixel": pixel[:, 1] * clip.manifest.width + pixel[:, 0],
    }
    arrays = (clip.frames, clip.labels, clip.mask, clip.background)
    frames = len(batch.frame_index)
    yield Case(
        "gather pixels",
        lambda: pixel_gathering.gather_pixels(*arrays, **where),
        lambda: pixel_gathering.reference_gather_pixels(*arrays, **where),
        Work(60 * len(pixel), 4 * len(pixel), 5 * labels.size * frames),
    )


def whole_cases(inputs: Inputs) -> Iterator[Case]:
    """All of a step's way forward, with fields in bfloat16 against float32."""
    driven, batch = inputs.driven, inputs.batch
    background = batch.background.to(inputs.rays.origin.device)

    @torch.no_grad()
    def render() -> object:
        return render_rays(driven, inputs.rays, inputs.drive, background=background)

    def in_float32() -> object:
        with float32_fields():
            return render()

    points = inputs.points.head.shape[0] * inputs.points.head.shape[1]
    parts = [driven.field, driven.torso_deformation]
    weights = sum(
        parameter.numel()
        for part in parts
        if part is not None
        for parameter in part.parameters()
        if parameter.ndim == 2
    )
    yield Case(
        "render rays, field's own type against float32",
        render,
        in_float32,
        Work(flops=2 * weights * points, is_half=True),
    )


FAMILIES = (plane_grid_cases, compositing_cases, band_cases, pixel_cases, whole_cases)
