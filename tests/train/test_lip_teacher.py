"""The teacher: which frames it asks about, and that what it teaches is the right frame's mouth."""

import numpy as np
import torch

from sspnerf.fields.conditioning import ATTENTION_CENTER, SpeechEncoder, neighbour_windows
from sspnerf.train.lip_teacher import MOUTH_BLENDSHAPES, LipTeacher, run_with_neighbours


def teacher_of(frames, generator):
    blendshapes = torch.rand(frames, 52, generator=generator)
    return LipTeacher(blendshapes, speech_dim=6), blendshapes


def test_runs_are_neighbouring_training_frames(generator):
    teacher, _ = teacher_of(20, generator)
    runs = teacher.draw(np.random.default_rng(0))
    assert (np.diff(runs, axis=1) == 1).all()
    assert runs.min() >= 0
    assert runs.max() < 20


def test_a_clip_shorter_than_a_run_is_asked_about_whole(generator):
    teacher, _ = teacher_of(5, generator)
    assert teacher.draw(np.random.default_rng(0)).tolist() == [[0, 1, 2, 3, 4]] * 4


def test_targets_are_the_mouth_of_the_same_frame_standardised(generator):
    teacher, blendshapes = teacher_of(50, generator)
    jaw_open = 25
    column = MOUTH_BLENDSHAPES.index(jaw_open)
    expected = (blendshapes[:, jaw_open] - blendshapes[:, jaw_open].mean()) / blendshapes[
        :, jaw_open
    ].std()
    torch.testing.assert_close(teacher.target[:, column], expected)


def test_what_it_hears_is_what_the_field_hears(generator):
    """The shared windows of a run give the same encoding as each frame's own eight windows."""
    features = torch.randn(300, 5, generator=generator).numpy()
    encoder = SpeechEncoder(5, 32, speech_dim=6)
    teacher, _ = teacher_of(40, generator)
    runs = np.array([[10, 11, 12, 13], [20, 21, 22, 23]])
    wanted = run_with_neighbours(runs)
    own = neighbour_windows(features, wanted.reshape(-1), rate_hz=100.0, frame_rate_hz=25.0)
    windows = own[:, ATTENTION_CENTER].reshape(*wanted.shape, 32, 5)
    heard = encoder(
        neighbour_windows(features, runs.reshape(-1), rate_hz=100.0, frame_rate_hz=25.0)
    )
    expected = (teacher.linear(heard) - teacher.target[runs.reshape(-1)]).square().mean()
    torch.testing.assert_close(teacher.loss(encoder, windows, runs), expected)


def test_a_mouth_that_never_moves_does_not_blow_up(generator):
    blendshapes = torch.zeros(30, 52)
    blendshapes[:, 25] = 0.001 * torch.rand(30, generator=generator)
    assert LipTeacher(blendshapes, speech_dim=6).target.abs().max() < 0.1
