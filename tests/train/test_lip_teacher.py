"""The teacher: which frames it asks about, and that what it teaches is the right frame's mouth."""

import numpy as np
import torch

from sspnerf.train.lip_teacher import MOUTH_BLENDSHAPES, LipTeacher


def teacher_of(frames, generator):
    blendshapes = torch.rand(frames, 52, generator=generator)
    return LipTeacher(blendshapes, speech_dim=6), blendshapes


def test_runs_are_neighbouring_training_frames(generator):
    teacher, _ = teacher_of(20, generator)
    drawn = teacher.draw(np.random.default_rng(0))
    assert (np.diff(drawn) == 1).all()
    assert 0 <= drawn.min() < drawn.max() < 20
    assert len(drawn) >= 16


def test_a_clip_shorter_than_a_run_is_asked_about_whole(generator):
    teacher, _ = teacher_of(5, generator)
    assert teacher.draw(np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


def test_targets_are_the_mouth_of_the_same_frame_standardised(generator):
    teacher, blendshapes = teacher_of(50, generator)
    jaw_open = 25
    column = MOUTH_BLENDSHAPES.index(jaw_open)
    expected = (blendshapes[:, jaw_open] - blendshapes[:, jaw_open].mean()) / blendshapes[
        :, jaw_open
    ].std()
    torch.testing.assert_close(teacher.target[:, column], expected)


def test_knowing_the_mouth_exactly_costs_nothing(generator):
    teacher, _ = teacher_of(40, generator)
    frames = np.array([3, 8, 21])
    with torch.no_grad():
        teacher.linear.weight.zero_()
        teacher.linear.bias.copy_(teacher.target[8])
    assert teacher.loss(torch.zeros(1, 6), frames[1:2]) < 1e-12
    expected = (teacher.target[8] - teacher.target[frames]).square().mean()
    torch.testing.assert_close(teacher.loss(torch.zeros(3, 6), frames), expected)


def test_a_mouth_that_never_moves_does_not_blow_up(generator):
    blendshapes = torch.zeros(30, 52)
    blendshapes[:, 25] = 0.001 * torch.rand(30, generator=generator)
    assert LipTeacher(blendshapes, speech_dim=6).target.abs().max() < 0.1
