"""The torso follower: what follows a head is recovered, what stands still stays."""

import numpy as np
import pytest
import torch

from sspnerf.geometry.rotations import invert_rigid, rigid_transform, vector_from_rotation
from sspnerf.render.torso_follower import CHEST_CM, TorsoFollower

RATE_HZ = 25.0
SECONDS = 40
# Where the camera stands at rest: 60 cm in front of the face.
REST = torch.tensor(
    [[1, 0, 0, 0], [0, -1, 0, -4], [0, 0, -1, 60], [0, 0, 0, 1]], dtype=torch.float64
)


def smooth_motion(time_s):
    """A head that nods, turns and sways: rotation vector and shift at moments, s."""
    motion = np.zeros((len(time_s), 6))
    for i in range(6):
        size = 0.08 if i < 3 else 0.8
        for k, rate_hz in enumerate((0.11, 0.29, 0.53)):
            motion[:, i] += size / (k + 1) * np.sin(2 * np.pi * rate_hz * time_s + 7 * i + 3 * k)
    return motion


def filtered(motion, *, rate_hz, time_constant_s):
    """What lags behind: an exponential filter, from the standing start."""
    share = 1 - np.exp(-1 / (rate_hz * time_constant_s))
    lagging, out = motion[0], []
    for now in motion:
        lagging = lagging + share * (now - lagging)
        out.append(lagging)
    return np.array(out)


def poses_of(motion):
    """camera_to_world when what rested in REST has moved so."""
    return invert_rigid(rigid_transform(torch.from_numpy(motion))) @ REST


def speaker(rate_hz=RATE_HZ):
    """Head poses, and poses of a torso that turns and sways with them, less and later."""
    head = smooth_motion(np.arange(round(SECONDS * rate_hz)) / rate_hz)
    late = filtered(head, rate_hz=rate_hz, time_constant_s=0.25)
    torso = late @ np.diag([0.0, 0.0, 0.2, 0.5, 0.4, 0.1])
    torso[:, 3] += 2.0 * late[:, 1]
    torso[:, 4] += 0.3
    return poses_of(head).float(), poses_of(torso).float()


def chest(torso_poses):
    """Where a point of the chest is in camera axes, cm."""
    inverse = invert_rigid(torso_poses.double())
    return inverse[:, :3, :3] @ torch.tensor(CHEST_CM, dtype=torch.float64) + inverse[:, :3, 3]


def rms(shift):
    return float(shift.square().sum(dim=-1).mean().sqrt())


def fitted(poses, torso_poses, *, frames=None, rate_hz=RATE_HZ):
    valid = torch.arange(len(poses)) < (len(poses) if frames is None else frames)
    return TorsoFollower.fit(poses, torso_poses, valid=valid, frame_rate_hz=rate_hz)


def test_a_torso_that_lags_behind_its_head_is_recovered_on_frames_not_seen():
    poses, torso_poses = speaker()
    follower = fitted(poses, torso_poses, frames=750)
    predicted = follower.predict(poses, frame_rate_hz=RATE_HZ)
    truth, found = chest(torso_poses)[750:], chest(predicted)[750:]
    moves = rms(truth - truth.mean(dim=0))
    assert moves > 0.3
    assert rms(found - truth) < 0.05 * moves
    # Without any history the same torso is missed by much more: it counts.
    still = torch.stack([follower.predict(p[None], frame_rate_hz=RATE_HZ)[0] for p in poses[750:]])
    assert rms(chest(still) - truth) > 4 * rms(found - truth)


def test_only_valid_frames_are_learned_from():
    poses, torso_poses = speaker()
    expected = fitted(poses, torso_poses, frames=500)
    spoilt = torso_poses.clone()
    spoilt[500:] = rigid_transform(torch.tensor([0.3, 0.2, 0.1, 9.0, 8.0, 7.0])) @ spoilt[500:]
    found = fitted(poses, spoilt, frames=500)
    assert torch.equal(found.weight, expected.weight)
    assert torch.equal(found.offset, expected.offset)


def test_a_torso_that_stands_still_stays_still():
    poses, _ = speaker()
    standing = poses_of(np.tile([0.0, 0.0, 0.1, 0.5, 0.2, 0.0], (len(poses), 1))).float()
    predicted = fitted(poses, standing).predict(poses, frame_rate_hz=RATE_HZ)
    torch.testing.assert_close(predicted, standing, rtol=0, atol=1e-4)


def test_a_torso_that_a_head_does_not_move_all_but_stands_still(generator):
    poses, _ = speaker()
    shift = torch.zeros(len(poses), 6, dtype=torch.float64)
    shift[:, 3:] = torch.randn(len(poses), 3, generator=generator, dtype=torch.float64)
    torso_poses = poses_of(shift.numpy()).float()
    predicted = chest(fitted(poses, torso_poses, frames=750).predict(poses, frame_rate_hz=RATE_HZ))
    assert rms(predicted - predicted.mean(dim=0)) < 0.2 * rms(shift[:, 3:])


def test_what_a_torso_did_by_chance_for_four_seconds_is_not_believed():
    poses, _ = speaker()
    # As smooth as the head's motion, and nothing to do with it.
    other = smooth_motion(1000 + np.arange(len(poses)) / 17.3) @ np.diag([0, 0, 0.3, 0.5, 0.5, 0])
    truth = chest(poses_of(other).float())
    follower = fitted(poses, poses_of(other).float(), frames=100)
    error = rms((chest(follower.predict(poses, frame_rate_hz=RATE_HZ)) - truth)[100:])
    standing = rms((truth - truth[:100].mean(dim=0))[100:])
    # The weakest ridge is off by 2.6 times what standing still is.
    assert error < 1.3 * standing


def test_one_frame_is_followed_by_standing_still():
    poses, torso_poses = speaker()
    predicted = fitted(poses[:1], torso_poses[:1]).predict(poses[:9], frame_rate_hz=RATE_HZ)
    torch.testing.assert_close(predicted, torso_poses[:1].expand(9, 4, 4), rtol=0, atol=1e-4)


def test_what_is_predicted_are_rotations_and_shifts():
    poses, torso_poses = speaker()
    # Further than was ever seen.
    wild = rigid_transform(torch.tensor([0.5, -0.7, 0.3, 9.0, -5.0, 20.0])) @ poses
    predicted = fitted(poses, torso_poses).predict(wild, frame_rate_hz=RATE_HZ)
    assert predicted.dtype == torch.float32
    rotation = predicted[:, :3, :3].double()
    identity = torch.eye(3, dtype=torch.float64).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, identity, rtol=0, atol=1e-5)
    assert (torch.linalg.det(rotation) > 0).all()
    assert torch.equal(predicted[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(len(predicted), 4))


def test_twice_the_frame_rate_gives_the_same_answer():
    poses, torso_poses = speaker()
    twice, torso_twice = speaker(2 * RATE_HZ)
    slow = fitted(poses, torso_poses)
    expected = chest(slow.predict(poses, frame_rate_hz=RATE_HZ))
    # Half a second ago lies between two frames of 0.04 s: interpolating errs by up to 0.0002 cm.
    predicted = chest(slow.predict(twice, frame_rate_hz=2 * RATE_HZ))[::2]
    torch.testing.assert_close(predicted, expected, rtol=0, atol=5e-4)
    fast = fitted(twice, torso_twice, rate_hz=2 * RATE_HZ)
    predicted = chest(fast.predict(twice, frame_rate_hz=2 * RATE_HZ))[::2]
    # The torso's own filter is not quite the same at another rate.
    assert rms(predicted - expected) < 0.03 * rms(expected - expected.mean(dim=0))


def test_the_first_frame_has_stood_there_for_long():
    poses, torso_poses = speaker()
    follower = fitted(poses, torso_poses)
    alone = follower.predict(poses[100:101], frame_rate_hz=RATE_HZ)
    waiting = follower.predict(poses[100:101].expand(60, 4, 4), frame_rate_hz=RATE_HZ)
    assert torch.equal(waiting, alone.expand(60, 4, 4))
    following = follower.predict(poses[100:140], frame_rate_hz=RATE_HZ)
    torch.testing.assert_close(following[:1], alone)


def test_a_camera_turned_on_its_spot_changes_nothing_else():
    poses, torso_poses = speaker()
    turn = rigid_transform(torch.tensor([0.1, -0.2, 0.3, 0.0, 0.0, 0.0]))
    expected = fitted(poses, torso_poses).predict(poses, frame_rate_hz=RATE_HZ) @ turn
    turned = fitted(poses @ turn, torso_poses @ turn)
    found = turned.predict(poses @ turn, frame_rate_hz=RATE_HZ)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_reference_is_the_mean_pose():
    motion = np.array([[0.2, 0, 0, 3.0, 0, 0], [-0.2, 0, 0, 3.0, 0, 0]])
    poses = invert_rigid(REST) @ rigid_transform(torch.from_numpy(motion))
    follower = fitted(poses.float(), poses.float())
    expected = invert_rigid(REST).float()
    turned = vector_from_rotation(follower.reference[:3, :3] @ expected[:3, :3].mT)
    torch.testing.assert_close(turned, torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(follower.reference[:3, 3], poses[:, :3, 3].mean(dim=0).float())


def test_the_parts_put_together_again_predict_the_same():
    poses, torso_poses = speaker()
    follower = fitted(poses, torso_poses)
    again = TorsoFollower(**follower.tensors())
    expected = follower.predict(poses, frame_rate_hz=RATE_HZ)
    assert torch.equal(again.predict(poses, frame_rate_hz=RATE_HZ), expected)


@pytest.mark.refuses
def test_no_valid_frame_is_refused():
    poses, torso_poses = speaker()
    with pytest.raises(ValueError, match="no frame is valid"):
        fitted(poses, torso_poses, frames=0)


def test_history_does_not_reach_across_a_cut():
    poses, torso_poses = speaker()
    # Two takes that begin where the first begins: each alone says the same, twice.
    twice, torso_twice = torch.cat((poses, poses)), torch.cat((torso_poses, torso_poses))
    valid = torch.ones(len(twice), dtype=torch.bool)
    known = {"valid": valid, "frame_rate_hz": RATE_HZ}
    cut = TorsoFollower.fit(twice, torso_twice, cuts=(len(poses),), **known)
    uncut = TorsoFollower.fit(twice, torso_twice, **known)
    strength = TorsoFollower.fit(
        poses, torso_poses, valid=valid[: len(poses)], frame_rate_hz=RATE_HZ
    )
    size = float(strength.weight.abs().max())
    assert float((cut.weight - strength.weight).abs().max()) < 1e-3 * size
    assert float((uncut.weight - strength.weight).abs().max()) > 1e-3 * size
