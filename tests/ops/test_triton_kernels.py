"""GPU kernels against the references: compiled where there is a GPU, elsewhere interpreted.

The interpreter runs a kernel's programs one after the other, so shapes are small. It forgives what
the compiler does not: the last test compiles all kernels for a GPU that need not be there.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sspnerf.ops import backend as backends
from sspnerf.ops import band, compositing, pixel_gathering, plane_grid

pytest.importorskip("triton", reason="triton is not installed; it exists for Linux")

BORDERS = [
    [-1.0, -1.0, -1.0],
    [1.0, 1.0, 1.0],
    [-1.0, 0.0, 1.0],
    [0.0, 0.5, -0.5],
    [1.5, 0.3, -7.0],
    [-1e9, 1e9, 0.1],
    [float("nan"), 0.3, float("nan")],
    [float("inf"), float("-inf"), 0.2],
]
# None, one, and not a multiple of what one program works on.
RAYS = [0, 1, 70]


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _only_triton(monkeypatch, device):
    monkeypatch.setenv(backends.BACKEND_VARIABLE, "triton")
    assert backends.choose(device).name == "triton"


@pytest.fixture
def draw(generator, device):
    """Return a function that draws normal numbers of a shape."""
    return lambda *shape: torch.randn(shape, generator=generator).to(device)


def run(function, *inputs):
    """Return the outputs, and the gradients of all inputs for always the same cotangents."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    outputs = function(*leaves)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    learned = [each for each in outputs if each.requires_grad]
    generator = torch.Generator().manual_seed(7)
    cotangents = [
        torch.randn(each.shape, generator=generator).to(each.device, each.dtype) for each in learned
    ]
    gradients = torch.autograd.grad(learned, leaves, cotangents)
    return [*(each.detach() for each in outputs), *gradients]


def lookup(function, resolutions, features):
    return lambda *given: function(*given, resolutions=resolutions, features=features)


def table_of(draw, resolutions, features):
    return draw(plane_grid.table_size(resolutions, features))


@pytest.mark.parametrize("points", [0, 1, 7, 150])
@pytest.mark.parametrize(("resolutions", "features"), [((2,), 1), ((2, 5), 3), ((3, 9), 4)])
def test_lookup_equals_the_reference(draw, points, resolutions, features):
    # Up to a fifth of the side outside.
    given = table_of(draw, resolutions, features), draw(points, 3).clamp(-1.4, 1.4)
    ours, theirs = (
        run(lookup(function, resolutions, features), *given)
        for function in (plane_grid.lookup_planes, plane_grid.reference_lookup_planes)
    )
    # A node sums up to 150 terms of size 1 in another order: 8e-6 at worst here.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)


def test_lookup_equals_the_reference_on_borders_and_beyond(draw, device):
    given = table_of(draw, (2, 5), 3), torch.tensor(BORDERS, device=device)
    ours, theirs = (
        run(lookup(function, (2, 5), 3), *given)
        for function in (plane_grid.lookup_planes, plane_grid.reference_lookup_planes)
    )
    torch.testing.assert_close(ours, theirs)


def test_lookup_in_bfloat16_is_the_reference_rounded(draw):
    options = {"resolutions": (2, 5), "features": 4}
    table, positions = table_of(draw, **options), draw(9, 3).clamp(-1, 1)
    ours, theirs = (
        run(function, table, positions)
        for function in (
            lambda *given: plane_grid.lookup_planes(*given, **options, dtype=torch.bfloat16),
            lambda *given: plane_grid.reference_lookup_planes(*given, **options).bfloat16(),
        )
    )
    # The interpreter cuts off what does not fit, a GPU rounds: one unit of the last place apart.
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=1e-5)


def test_gradients_of_a_table_are_the_same_bits_each_time(draw):
    # All points in four cells: each sum has more terms than one program adds at a time.
    given = table_of(draw, (2, 5), 4), draw(200, 3) * 0.05
    first, second = (run(lookup(plane_grid.lookup_planes, (2, 5), 4), *given) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    theirs = run(lookup(plane_grid.reference_lookup_planes, (2, 5), 4), *given)
    torch.testing.assert_close(first, theirs, rtol=1e-5, atol=5e-5)


def test_a_read_of_what_is_no_number_sends_its_gradient_to_the_first_node(device):
    table = torch.zeros(12, device=device, requires_grad=True)
    nowhere = torch.full((1, 3), float("nan"), device=device)
    plane_grid.lookup_planes(table, nowhere, resolutions=(2,), features=1).sum().backward()
    expected = torch.tensor([1.0, 0.0, 0.0, 0.0] * 3, device=device)
    assert torch.equal(table.grad, expected)


def edges_of(draw, *shape):
    *rays, samples = shape
    return draw(*rays, samples + 1).abs().cumsum(dim=-1)


@pytest.mark.parametrize("rays", [*RAYS, (2, 3)])
@pytest.mark.parametrize(("samples", "channels"), [(1, 1), (8, 3), (5, 5)])
def test_compositing_equals_the_reference(draw, rays, samples, channels):
    rays = (rays,) if isinstance(rays, int) else rays
    t_edges = edges_of(draw, *rays, samples)
    given = draw(*rays, samples).abs(), draw(*rays, samples, channels)
    ours, theirs = (
        run(lambda density, values, f=function: f(density, t_edges, values), *given)
        for function in (compositing.composite, compositing.reference_composite)
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("wall", [1e-6, 0.1, 0.49, 0.51, 80.0, 1e8])
def test_thin_haze_is_not_lost_in_front_of_a_wall(device, wall):
    density, t_edges = torch.tensor([[1e-6, wall, 0.1]]), torch.arange(4.0)[None]
    found = compositing.composite(
        density.to(device), t_edges.to(device), torch.ones(1, 3, 1, device=device)
    )
    expected = compositing.ray_weights(density.double(), t_edges.double())
    torch.testing.assert_close(found.weights.cpu(), expected.float(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("number_type", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [0, 1, 11])
@pytest.mark.parametrize("rays", RAYS)
def test_portraits_composite_as_the_reference(draw, rays, classes, number_type):
    density, t_edges = draw(rays, 4).abs(), edges_of(draw, rays, 4)
    color, logits = draw(rays, 4, 3).to(number_type), draw(rays, 4, classes).to(number_type)

    def composited(function):
        return lambda density, *values: function(density, t_edges, *values, semantic_share=0.3)

    ours, theirs = (
        run(composited(function), density, color, logits)
        for function in (compositing.composite_portrait, compositing.reference_composite_portrait)
    )
    torch.testing.assert_close(ours, theirs)


def rays_of(draw, rays):
    """Rays towards the face, one set per bone."""
    ahead = torch.tensor([0.0, 0.0, -4.0], device=draw(1).device)
    start = -5 * ahead
    return [
        each
        for _ in range(2)
        for each in (draw(rays, 3) + start, torch.nn.functional.normalize(draw(rays, 3) + ahead))
    ]


@pytest.mark.parametrize("rays", RAYS)
def test_rays_meet_the_surface_where_the_reference_says(draw, rays):
    surface, (origin, direction, _, _) = draw(9, 9), rays_of(draw, rays)
    given = surface, origin, direction
    found = band.hit_surface(*given, extent=6.0)
    torch.testing.assert_close(found, band.reference_hit_surface(*given, extent=6.0))


@pytest.mark.parametrize("has_neck", [True, False])
@pytest.mark.parametrize("rays", RAYS)
def test_rays_are_placed_where_the_reference_says(draw, device, rays, has_neck):
    given = draw(9, 9), *rays_of(draw, rays)
    neck = torch.tensor(-0.5, device=device) if has_neck else None
    options = {"extent": 6.0, "neck_height": neck, "neck_softness": 1.5}
    found = band.place_rays(*given, **options)
    torch.testing.assert_close(found, band.reference_place_rays(*given, **options))


@pytest.mark.parametrize("is_per_ray", [True, False])
@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("rays", RAYS)
def test_points_of_a_band_equal_the_reference(draw, rays, samples, is_per_ray):
    distance, given = draw(rays) + 20, rays_of(draw, rays)
    options = {"front": 2.5, "back": 1.5, "samples": samples}
    if is_per_ray:
        options |= {"front": draw(rays).abs(), "back": draw(rays).abs(), "shift": draw(rays)}
    ours, theirs = (
        run(lambda *four, f=function: f(distance, *four, **options), *given)
        for function in (band.band_points, band.reference_band_points)
    )
    torch.testing.assert_close(ours, theirs)


PICTURES = {"frames": (3, 4, 5, 3), "labels": (3, 4, 5), "mask": (3, 4, 5), "background": (4, 5, 3)}


@pytest.mark.parametrize("rays", [0, 1, 300])
def test_pixels_are_gathered_as_by_the_reference(generator, device, rays):
    pictures = [
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for shape in PICTURES.values()
    ]
    frame = torch.randint(0, 3, (rays,), generator=generator)
    pixel = torch.randint(0, 20, (rays,), generator=generator)
    expected = pixel_gathering.reference_gather_pixels(
        *(each.numpy() for each in pictures), frame=frame.numpy(), pixel=pixel.numpy()
    )
    found = [torch.empty_like(each, device=device) for each in expected]
    given = [each.to(device) for each in (*pictures, frame, pixel)]
    flat = [each.flatten(-3, -2) if each.shape[-1] == 3 else each.flatten(1) for each in given[:4]]
    backends.kernels("triton", "pixel_gathering").gather_pixels(*flat, *given[4:], *found)
    # The same bits: value / 255 is exact everywhere.
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_all_kernels_compile_for_a_gpu_and_none_has_atomics():
    script = Path(__file__).parents[1] / "triton_compilation.py"
    environment = {k: v for k, v in os.environ.items() if k != backends.INTERPRET_VARIABLE}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    compiled, kernels = (set(line.split()) for line in done.stdout.splitlines())
    assert compiled == kernels
    assert len(kernels) >= 13
