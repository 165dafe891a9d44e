"""The latent code f (fields/rough_mesh.py): where it is, how it is read, what moves with it."""

import itertools

import pytest
import torch

import oracles
from sspnerf.fields.rough_mesh import LAYERS, RoughMesh

VERTICES, NODES, FEATURES = 20, 16, 4


def rough_mesh(*, seed=0, vertices=VERTICES, nodes=NODES):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RoughMesh(vertices, code_dim=3, features=FEATURES, nodes=nodes)


@pytest.fixture
def vertices(generator):
    """A patch of surface, wider than deep; multiples of 1/64, so that shifts are exact."""
    spread = torch.tensor([16.0, 12.0, 4.0])
    exact = torch.randint(64, (VERTICES, 3), generator=generator) / 64
    return exact * spread + torch.tensor([-7.0, -9.0, 2.0])


@pytest.fixture
def placed(vertices):
    made = rough_mesh()
    made.place(vertices)
    return made


def points_in_cube(made, generator, count=60, *, reach=1.0):
    shares = torch.rand(count, 3, generator=generator) * 2 - 1
    return made.center + made.half_side * reach * shares


def node_positions(made):
    """Positions of all nodes, indexed [z, y, x], cm."""
    axis = torch.linspace(-1, 1, made.nodes) * made.half_side
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack((x, y, z), dim=-1) + made.center


def test_the_cube_leaves_the_margin_around_the_mesh_by_hand():
    made = rough_mesh(vertices=2)
    made.place(torch.tensor([[1.0, 0.0, 3.0], [8.0, 2.0, 4.0]]))
    # 15 steps, 4 of them on either side of 7 cm: each step is 1 cm.
    torch.testing.assert_close(made.center, torch.tensor([4.5, 1.0, 3.5]))
    torch.testing.assert_close(made.half_side, torch.tensor(7.5))


def test_codes_in_one_node_are_averaged_and_lie_where_their_vertices_are():
    made = rough_mesh(vertices=3)
    # Steps of 1 cm; nodes at -7.5 + 4, ... + 11 of x. The last two share the node nearest to both.
    made.place(torch.tensor([[-3.5, 1.5, 0.5], [3.5, -1.6, -0.7], [3.5, -1.4, -0.3]]))
    mean, written = made._scatter()
    assert written.nonzero()[:, 2:].tolist() == [[7, 6, 11], [8, 9, 4]]
    torch.testing.assert_close(mean[0, :, 8, 9, 4], made.codes[0])
    torch.testing.assert_close(mean[0, :, 7, 6, 11], made.codes[1:].mean(dim=0))
    assert mean.count_nonzero() == 2 * 3


def sparse_convolution(sites, convolution):
    """Convolve {(z, y, x): channels}, all else zero; nodes without a neighbour stay unwritten."""
    weight, bias = convolution.weight.tolist(), convolution.bias.tolist()
    steps = list(itertools.product((-1, 0, 1), repeat=3))
    written = {tuple(n - s for n, s in zip(node, step, strict=True))
               for node in sites for step in steps}  # fmt: skip
    out = {node: list(bias) for node in written}
    for node, channels in out.items():
        for z, y, x in steps:
            found = sites.get((node[0] + z, node[1] + y, node[2] + x), [])
            for o in range(len(channels)):
                for i, value in enumerate(found):
                    channels[o] += weight[o][i][z + 1][y + 1][x + 1] * value
    return out


def test_the_volume_matches_the_oracle():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = RoughMesh(2, code_dim=1, features=2, nodes=12)
    # Steps of 1 cm; the mesh's nodes lie at 4 and 7 of each axis.
    made.place(torch.tensor([[0.0, 3.0, 0.0], [3.0, 0.0, 3.0]]))
    sites = {(4, 7, 4): made.codes[0].tolist(), (7, 4, 7): made.codes[1].tolist()}
    for i, convolution in enumerate(made.convolutions):
        if i > 0:
            sites = {node: [max(v, 0.0) for v in values] for node, values in sites.items()}
        sites = sparse_convolution(sites, convolution)
    expected = torch.zeros(2, 12, 12, 12)
    for (z, y, x), values in sites.items():
        expected[:, z, y, x] = torch.tensor(values)
    torch.testing.assert_close(made.volume(), expected, rtol=1e-4, atol=1e-5)


def test_features_end_within_the_convolutions_reach_and_fill_it(placed, vertices):
    volume = placed.volume()
    spacing = 2 * placed.half_side / (NODES - 1)
    node = ((vertices - placed.center + placed.half_side) / spacing).round()
    grid = torch.stack(
        torch.meshgrid(*[torch.arange(NODES)] * 3, indexing="ij"), dim=-1
    ).flip(-1)  # fmt: skip
    # Distance in steps, diagonal ones too, from each node (z, y, x) to the nearest vertex's.
    steps = (grid[..., None, :] - node).abs().amax(dim=-1).amin(dim=-1)
    assert torch.equal(volume.abs().sum(dim=0) > 0, steps <= LAYERS)


def test_the_cubes_faces_are_zero(placed):
    volume = placed.volume()
    for axis in (1, 2, 3):
        for end in (0, -1):
            assert not volume.select(axis, end).any()


def test_far_from_the_mesh_and_outside_the_cube_there_is_nothing(placed, generator):
    far = points_in_cube(placed, generator, reach=5.0)
    outside = ((far - placed.center).abs() > placed.half_side).any(dim=-1)
    filled = torch.ones(FEATURES, NODES, NODES, NODES)
    expected = (~outside).float()[:, None].expand(-1, FEATURES)
    assert outside.any()
    # Also just beyond a face, where zero padding alone would still fade.
    beyond = placed.center + placed.half_side * torch.tensor([[1.01, 0.0, 0.0], [0.0, 0.0, -1.01]])
    torch.testing.assert_close(placed(far, filled), expected)
    assert not placed(beyond, filled).any()
    # The mesh is flat: a corner of its cube is far from it.
    corner = placed.center + placed.half_side * torch.tensor([[0.9, -0.9, -0.9]])
    assert not placed(corner, placed.volume()).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_linear_in_x_y_or_z_is_read_as_that(placed, generator, axis):
    position = points_in_cube(placed, generator)
    volume = node_positions(placed)[None, ..., axis]
    # Sums of about 10 cm in float32.
    torch.testing.assert_close(
        placed(position, volume)[:, 0], position[:, axis], rtol=1e-5, atol=1e-5
    )


def test_the_lookup_matches_the_oracle(generator):
    made = rough_mesh(nodes=10)
    made.place(torch.rand(VERTICES, 3, generator=generator) * 9)
    volume = torch.randn(1, 10, 10, 10, generator=generator)
    position = points_in_cube(made, generator, 40, reach=1.3)
    expected = [
        oracles.trilinear(volume[0].tolist(), made.center.tolist(), made.half_side.item(), p)
        for p in position.tolist()
    ]
    torch.testing.assert_close(
        made(position, volume)[:, 0], torch.tensor(expected), rtol=1e-5, atol=1e-5
    )


def test_moving_mesh_and_points_together_changes_nothing(placed, vertices, generator):
    shift = torch.tensor([32.0, -8.0, 16.0])
    position = (points_in_cube(placed, generator) * 64).round() / 64
    before = placed(position, placed.volume())
    assert before.any()
    placed.place(vertices + shift)
    assert torch.equal(placed(position + shift, placed.volume()), before)


def test_every_parameter_receives_a_gradient(placed, generator):
    position = points_in_cube(placed, generator, 500)
    placed(position, placed.volume()).square().sum().backward()
    for name, parameter in placed.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert (placed.codes.grad.abs().amax(dim=-1) > 0).all()


def test_the_lookup_is_differentiable_in_position_and_volume(generator):
    made = rough_mesh(nodes=10).double()
    made.place(torch.rand(VERTICES, 3, generator=generator, dtype=torch.float64) * 9)
    # Away from the nodes, where the slope changes.
    position = node_positions(made)[2:5, 3:6, 4:7].reshape(-1, 3).double() + 0.3
    position.requires_grad_()
    volume = torch.randn(2, 10, 10, 10, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: made(p, volume), position)
    volume.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: made(position.detach()[:3], v), volume, fast_mode=True
    )


def test_a_loaded_state_says_the_same_without_the_mesh(placed, generator):
    loaded = rough_mesh(seed=1)
    loaded.load_state_dict(placed.state_dict())
    position = points_in_cube(placed, generator)
    assert torch.equal(loaded(position, loaded.volume()), placed(position, placed.volume()))


@pytest.mark.parametrize("points", [0, 1])
def test_few_points_are_answered(placed, points):
    assert placed(torch.zeros(points, 3), placed.volume()).shape == (points, FEATURES)


@pytest.mark.refuses
def test_another_number_of_vertices_is_refused(placed):
    with pytest.raises(ValueError, match=r"vertices have shape \(1, 3\); expected \(20, 3\)"):
        placed.place(torch.zeros(1, 3))


@pytest.mark.refuses
def test_too_few_nodes_for_the_margin_are_refused():
    with pytest.raises(ValueError, match="nodes is 9; expected at least 10"):
        rough_mesh(nodes=9)


@pytest.mark.parametrize("nodes", [10, 11])
def test_the_fewest_nodes_still_hold_the_mesh(vertices, nodes):
    made = rough_mesh(nodes=nodes)
    made.place(vertices)
    inside = (vertices - made.center).abs() < made.half_side
    assert inside.all()
    assert made.volume().shape == (FEATURES, nodes, nodes, nodes)
