"""AD-NeRF's two fields: what the torso is told."""

import math
from dataclasses import replace

import pytest
import torch

from small_fields import FEATURE_DIM, WINDOW, driven_by
from sspnerf.config import PRESETS, PerceptronConfig
from sspnerf.fields.head_and_torso import HeadAndTorso


@pytest.fixture
def driven():
    config = replace(PRESETS["adnerf"], perceptron=PerceptronConfig(hidden=8, layers=2))
    return HeadAndTorso(config, feature_dim=FEATURE_DIM, window=WINDOW)


def test_the_torso_is_told_what_the_head_hears_and_where_the_head_is(driven, generator):
    condition = torch.randn(2, driven.condition_dim, generator=generator)
    pose = torch.randn(2, 6, generator=generator)
    told = driven.torso_condition(driven_by(condition)._replace(pose=pose))
    assert torch.equal(told[:, : driven.condition_dim], condition)
    for frame in range(2):
        expected = [float(x) for x in pose[frame]]
        expected += [
            wave(2**band * float(x))
            for band in range(3)
            for wave in (math.sin, math.cos)
            for x in pose[frame]
        ]
        found = told[frame, driven.condition_dim :].tolist()
        assert sorted(found) == pytest.approx(sorted(expected), abs=1e-5)
    assert told.shape[1] == driven.torso_fine.trunk.layers[0].in_features - 63
