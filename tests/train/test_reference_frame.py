"""The reference frame is the one that the clip names, not its first."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_learners import ADNERF, FAST, NETWORK, PAPER, awaken, learner_of, watched
from sspnerf.fields.deformation_network import pose_vector
from tiny_speaker import FRAMES, with_changes

REFERENCE, TRAINING = 3, 10
NETWORKS = pytest.mark.parametrize(
    "config", [replace(FAST, deformation=NETWORK), PAPER], ids=["fast", "paper"]
)


@pytest.fixture(scope="module")
def clip(tiny_clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "clip"
    return with_changes(tiny_clip, path, manifest={"reference_frame": REFERENCE})


@NETWORKS
def test_its_pose_and_time_are_the_canonical_ones(clip, config):
    network = learner_of(clip, config).driven.torso_deformation.network
    expected = pose_vector(torch.from_numpy(np.array(clip.poses[REFERENCE]))[None])[0]
    torch.testing.assert_close(network.canonical_pose, expected)
    assert float(network.canonical_time) == pytest.approx(REFERENCE / (FRAMES - 1))


@NETWORKS
def test_only_in_it_nothing_is_deformed(clip, config):
    learner = learner_of(clip, replace(config, frames_per_step=TRAINING, rays_per_step=100))
    awaken(learner)
    seen = watched(learner)
    learner.step(0.0)
    ((batch, rendered),) = seen
    largest, frame = np.zeros(TRAINING), batch.frame_index[batch.slot]
    np.maximum.at(largest, frame, rendered.offset.detach().abs().amax(dim=(1, 2)).numpy())
    assert set(np.flatnonzero(largest)) == set(range(TRAINING)) - {REFERENCE}


def test_the_torso_of_adnerf_is_seen_from_its_pose(clip):
    expected = torch.from_numpy(np.array(clip.poses[REFERENCE])).expand(FRAMES, 4, 4)
    learner = learner_of(clip, ADNERF)
    assert torch.equal(learner.tracked.torso_poses, expected)
    assert torch.equal(learner.portrait(1.0).torso_poses, expected)
