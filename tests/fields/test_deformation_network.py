"""The paper's torso deformation: nothing at first, then what time and pose ask for."""

import pytest
import torch

from sspnerf.fields import deformation_network
from sspnerf.fields.deformation_network import DeformationNetwork, pose_vector
from sspnerf.geometry.rotations import invert_rigid, rigid_transform

POINTS = 24


def network(*, seed=0, awake=True, **sizes):
    """A small network; `awake` gives its last layer weights, as learning would."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = DeformationNetwork(**{"hidden": 16, "layers": 6} | sizes)
        if awake:
            torch.nn.init.normal_(made.out.weight)
    return made


@pytest.fixture
def inputs(generator):
    return (
        torch.rand(POINTS, 3, generator=generator) * 30 - 15,
        torch.rand(POINTS, generator=generator),
        torch.randn(POINTS, 6, generator=generator),
    )


def facing_camera(*, distance=80.0, dtype=torch.float32):
    """camera_to_world in front of the face: right, down and into the face."""
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=dtype))
    pose[2, 3] = distance
    return pose


def test_a_face_that_looks_at_the_camera_is_not_turned():
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, -8.0]])
    torch.testing.assert_close(pose_vector(facing_camera()[None]), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turned_head_is_turned_by_as_much(axis):
    turn = torch.zeros(6)
    turn[axis] = 0.2
    # The head turns in place: its space is carried along before the camera sees it.
    head_to_camera = invert_rigid(facing_camera()) @ rigid_transform(turn)
    expected = turn + torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -8.0])
    torch.testing.assert_close(pose_vector(invert_rigid(head_to_camera)[None])[0], expected)


def test_a_shifted_head_is_shifted_right_up_and_back_in_dm():
    shift = rigid_transform(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]))
    poses = invert_rigid(invert_rigid(facing_camera()) @ shift)[None]
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.1, 0.2, -7.7]])
    torch.testing.assert_close(pose_vector(poses), expected)


def test_each_frame_has_its_own_pose_vector(generator):
    turns = 0.3 * torch.randn(4, 6, generator=generator)
    poses = facing_camera() @ rigid_transform(turns)
    vectors = pose_vector(poses)
    for i in range(4):
        torch.testing.assert_close(vectors[i : i + 1], pose_vector(poses[i : i + 1]))
    assert pose_vector(poses[:0]).shape == (0, 6)


def test_the_offset_is_zero_at_first(inputs):
    assert torch.equal(network(awake=False)(*inputs), torch.zeros(POINTS, 3))


def test_one_step_towards_a_target_brings_the_offsets_closer(inputs):
    made = network(awake=False)
    target = torch.tensor([0.5, -1.0, 0.2]).expand(POINTS, 3)
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-4)
    loss = (made(*inputs) - target).square().mean()
    loss.backward()
    optimiser.step()
    offset = made(*inputs)
    assert offset.abs().min() > 0
    assert (offset - target).square().mean() < loss


def test_every_parameter_receives_a_gradient_once_the_last_layer_is_awake(inputs):
    made = network()
    made(*inputs).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("part", [0, 1, 2])
def test_the_offset_depends_on_position_time_and_pose(inputs, part):
    made = network()
    changed = list(inputs)
    changed[part] = changed[part].flip(0)
    assert not torch.equal(made(*changed), made(*inputs))


def test_the_offset_depends_on_the_canonical_pose(inputs):
    made = network()
    before = made(*inputs)
    made.canonical_pose.copy_(torch.arange(6.0))
    assert not torch.equal(made(*inputs), before)


def test_each_point_is_moved_alone(inputs, monkeypatch):
    monkeypatch.setattr(deformation_network, "field_dtype", lambda device: torch.float32)
    made = network()
    alone = torch.cat([made(*(part[i : i + 1] for part in inputs)) for i in range(POINTS)])
    # Sums in another order, of offsets of a few cm.
    torch.testing.assert_close(made(*inputs), alone, rtol=1e-4, atol=1e-4)


def test_the_output_layer_speaks_in_dm_and_the_offset_is_in_cm(inputs, monkeypatch):
    monkeypatch.setattr(deformation_network, "field_dtype", lambda device: torch.float32)
    made = network()
    before = made(*inputs)
    monkeypatch.setattr(deformation_network, "POSITION_SCALE", 1.0)
    position, time, pose = inputs
    # In dm throughout: the same points give a tenth of the number.
    torch.testing.assert_close(10 * made(position / 10, time, pose), before, rtol=1e-4, atol=1e-4)


def test_in_the_canonical_frame_nothing_is_moved(inputs):
    made, (position, _, _) = network(), inputs
    made.canonical_pose.copy_(torch.linspace(-6, 1, 6))
    made.canonical_time.fill_(0.3)
    pose, time = made.canonical_pose.expand(POINTS, 6), made.canonical_time.expand(POINTS)
    assert torch.equal(made(position, time, pose), torch.zeros(POINTS, 3))
    assert made(position, time + 0.2, pose).abs().max() > 0
    assert made(position, time, pose + 0.01).abs().max() > 0


def test_a_small_motion_of_the_head_is_seen_in_both_number_types(inputs, monkeypatch):
    """1 mm at 6 dm from the camera: far less than bfloat16 tells apart there."""
    position, _, _ = inputs
    made = network()
    made.canonical_pose.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -6.0]))
    pose = made.canonical_pose.expand(POINTS, 6).clone()
    pose[:, 5] += 0.01
    monkeypatch.setattr(deformation_network, "field_dtype", lambda device: torch.bfloat16)
    still = torch.zeros(POINTS)
    assert made(position, still, pose).abs().max() > 0


@pytest.mark.parametrize("number_type", [torch.float32, torch.bfloat16])
def test_the_offset_is_float32_and_the_same_in_both_number_types(inputs, monkeypatch, number_type):
    made = network()
    monkeypatch.setattr(deformation_network, "field_dtype", lambda device: torch.float32)
    exact = made(*inputs)
    monkeypatch.setattr(deformation_network, "field_dtype", lambda device: number_type)
    offset = made(*inputs)
    assert offset.dtype == torch.float32
    # Eight bits and six layers: a few hundredths of the largest offset.
    torch.testing.assert_close(offset, exact, rtol=0, atol=0.03 * exact.abs().max().item())


@pytest.mark.parametrize(
    ("layers", "widths"),
    [(6, [152, 16, 16, 16, 16, 168]), (3, [152, 16, 168]), (2, [152, 168]), (1, [152])],
)
def test_the_input_returns_before_the_last_layer_that_follows_index_4(layers, widths):
    made = network(layers=layers)
    assert [layer.in_features for layer in made.hidden_layers.layers] == widths


def test_the_canonical_pose_is_saved():
    made, loaded = network(), network(seed=1)
    made.canonical_pose.copy_(torch.arange(6.0))
    made.canonical_time.fill_(0.4)
    loaded.load_state_dict(made.state_dict())
    assert torch.equal(loaded.canonical_pose, torch.arange(6.0))
    assert loaded.canonical_time == 0.4


def test_no_points_are_answered_with_nothing():
    assert network()(torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 6)).shape == (0, 3)
