"""The torso deformation against the synthetic speaker's truth."""

from dataclasses import replace

import numpy as np
import pytest

from small_learners import learner_of
from sspnerf.config import PRESETS, DeformationConfig, FieldConfig, SynthConfig
from sspnerf.data.clip import open_clip
from sspnerf.evaluate.deformation import deformation_error
from sspnerf.synth.writer import write_synthetic_clip

SMALL = replace(
    PRESETS["fast"],
    rays_per_step=512,
    frames_per_step=4,
    field=FieldConfig(resolutions=(8, 16, 32), hidden=32),
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("synth") / "clip"
    write_synthetic_clip(path, SynthConfig(size=48, seconds=3.0))
    return open_clip(path)


def learned(clip, config, *, steps):
    learner = learner_of(clip, config)
    for step in range(steps):
        learner.step(step / steps)
    return learner.portrait(1.0), list(learner.dataset.held_out)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["both", "bones"])
def test_after_learning_the_body_is_where_it_came_from(clip, form):
    config = replace(SMALL, deformation=DeformationConfig(form=form))
    portrait, held_out = learned(clip, config, steps=80)
    found = deformation_error(portrait, clip, held_out)
    assert found.motion > 0.1
    assert found.share < 0.25


def test_without_deformation_all_of_the_motion_remains(clip):
    portrait, held_out = learned(clip, replace(SMALL, torso_deformation=False), steps=1)
    found = deformation_error(portrait, clip, held_out)
    assert found.share == pytest.approx(1.0)
    # By hand: what the head's pose makes of points whose place is known.
    frame = held_out[0]
    body = np.isin(clip.labels[frame], (8, 9))
    rows, columns = np.nonzero(body)
    intrinsics, pose = clip.manifest.intrinsics, clip.poses[frame].astype(np.float64)
    direction = np.stack(
        (
            (columns + 0.5 - intrinsics.cx) / intrinsics.fx,
            (rows + 0.5 - intrinsics.cy) / intrinsics.fy,
            np.ones(len(rows)),
        ),
        axis=-1,
    )
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    distance = clip.truth("distance")[frame][body][:, None]
    place = pose[:3, 3] + distance * (direction @ pose[:3, :3].T)
    moved = np.linalg.norm(place - clip.truth("canonical")[frame][body], axis=-1)
    one = deformation_error(portrait, clip, [frame])
    assert one.motion == pytest.approx(float(np.median(moved)), rel=0.02)


def test_a_clip_without_truth_says_nothing(tiny_clip):
    portrait, held_out = learned(tiny_clip, SMALL, steps=1)
    assert deformation_error(portrait, tiny_clip, held_out) is None
