"""Nothing of the held-out frames reaches a portrait: nonsense in them changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_learners import ADNERF, FAST, PAPER, learner_of
from sspnerf.data.semantics import SemanticClass
from sspnerf.geometry.rotations import rigid_transform
from sspnerf.media.audio import write_waveform
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.train.trainer import _read_speech, fit_to_clip
from tiny_speaker import FRAMES, with_changes

TRAINING = 10
HELD_OUT = slice(TRAINING, FRAMES)
# The tiny clip's features: 100 Hz at 25 frames per second.
HEARD = 4 * TRAINING
ARCHITECTURES = pytest.mark.parametrize("config", [FAST, PAPER, ADNERF], ids=["f", "p", "a"])


@pytest.fixture(scope="module")
def lively(tiny_clip, tmp_path_factory):
    """The tiny speaker comes closer with a face that never stays the same: each frame counts."""
    random = np.random.default_rng(4)
    poses, torso_poses = np.array(tiny_clip.poses), np.array(tiny_clip.torso_poses)
    for moved in (poses, torso_poses):
        moved[:, :3, 3] *= 1 - 0.02 * np.arange(FRAMES)[:, None]
    return with_changes(
        tiny_clip,
        tmp_path_factory.mktemp("lively") / "clip",
        poses=poses,
        torso_poses=torso_poses,
        blendshapes=random.random((FRAMES, 52)),
    )


@pytest.fixture(scope="module")
def misled(lively, tmp_path_factory):
    """The same with nonsense in its held-out frames; what is heard there is kept."""
    changed = {
        name: np.array(getattr(lively, name))
        for name in ("frames", "labels", "mask", "landmarks", "poses", "torso_poses", "blendshapes")
    }
    changed["frames"][HELD_OUT] ^= 255
    changed["labels"][HELD_OUT] = SemanticClass.HAIR
    changed["mask"][HELD_OUT] = 255
    changed["landmarks"][HELD_OUT] += 100
    far = rigid_transform(torch.tensor([0.3, -0.4, 0.2, 9.0, -8.0, 50.0])).numpy()
    changed["poses"][HELD_OUT] = far @ changed["poses"][HELD_OUT]
    changed["torso_poses"][HELD_OUT] = changed["torso_poses"][HELD_OUT] @ far
    changed["blendshapes"][HELD_OUT] = 7.0
    return with_changes(lively, tmp_path_factory.mktemp("misled") / "clip", **changed)


@pytest.fixture(scope="module")
def deafened(misled, tmp_path_factory):
    """The same with nonsense in the sound of the held-out frames too."""
    features = np.array(misled.feature("logmel"))
    features[HEARD:] = 50.0
    path = tmp_path_factory.mktemp("deafened") / "clip"
    clip = with_changes(misled, path, **{"features/logmel": features})
    sound = misled.speech()
    sound[len(sound) * TRAINING // FRAMES :] = 1.0
    write_waveform(path / "speech.wav", sound, SPEECH_SAMPLE_RATE_HZ)
    return clip


@ARCHITECTURES
def test_settings_fit_the_training_frames(lively, deafened, config):
    assert fit_to_clip(config, deafened) == fit_to_clip(config, lively)


@ARCHITECTURES
def test_untrained_networks_know_the_training_frames_alone(lively, deafened, config):
    """Regions of the surface, statistics of speech and upper face, the canonical pose."""
    config = replace(config, field=replace(config.field, upper_face_dim=4))
    honest, other = (learner_of(clip, config).driven.state_dict() for clip in (lively, deafened))
    assert honest.keys() == other.keys()
    differing = [name for name in honest if not torch.equal(honest[name], other[name])]
    assert not differing


def test_the_person_can_be_where_training_frames_show_it(lively, deafened):
    honest, other = (learner_of(clip).portrait(1.0).person_map for clip in (lively, deafened))
    assert honest.any()
    assert torch.equal(honest, other)


def test_the_torso_follows_the_head_as_in_training_frames(lively, deafened):
    followers = [learner_of(clip).portrait(1.0).torso_follower for clip in (lively, deafened)]
    honest, other = (follower.tensors() for follower in followers)
    for name, tensor in honest.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=0, msg=name)


def test_the_lip_teacher_knows_the_training_frames_mouths(lively, deafened):
    honest, other = (learner_of(clip).teacher.target[:TRAINING] for clip in (lively, deafened))
    assert torch.equal(honest, other)


def test_how_loud_the_speech_is_comes_from_the_training_frames(lively, deafened):
    honest, other = (_read_speech(clip, FAST, None).level_db for clip in (lively, deafened))
    assert honest == other


@ARCHITECTURES
def test_training_sees_the_training_frames_alone(lively, misled, config):
    # The sound is the same: the last training frames hear what is said shortly after them.
    honest, other = (learner_of(clip, config) for clip in (lively, misled))
    for progress in (0.1, 0.2, 0.6, 0.7):
        assert other.step(progress) == pytest.approx(honest.step(progress), rel=1e-4)
