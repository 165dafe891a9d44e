"""The teacher: which frames it asks about, and that what it teaches is the right frame's mouth."""

import numpy as np
import torch

from sspnerf.train.lip_teacher import MOUTH_BLENDSHAPES, LipTeacher


def teacher_of(frames, generator):
    blendshapes = torch.rand(frames, 52, generator=generator)
    return LipTeacher(blendshapes, np.arange(frames), speech_dim=6), blendshapes


def test_runs_are_neighbouring_training_frames(generator):
    teacher, _ = teacher_of(20, generator)
    drawn = teacher.draw(np.random.default_rng(0))
    assert (np.diff(drawn) >= 1).all()
    assert 0 <= drawn.min() < drawn.max() < 20


def test_every_frame_is_asked_about_as_often_as_any_other(generator):
    teacher, _ = teacher_of(100, generator)
    random = np.random.default_rng(0)
    count = np.bincount(np.concatenate([teacher.draw(random) for _ in range(2000)]), minlength=100)
    assert count.min() > 0.8 * count.mean()
    assert count.max() < 1.2 * count.mean()


def test_frames_without_a_tracked_face_teach_nothing(generator):
    blendshapes = torch.rand(30, 52, generator=generator)
    blendshapes[20:] = 1e6
    teacher = LipTeacher(blendshapes, np.arange(3, 20), speech_dim=6)
    random = np.random.default_rng(0)
    drawn = {int(i) for _ in range(50) for i in teacher.draw(random)}
    assert drawn == set(range(3, 20))
    assert teacher.target[3:20].abs().max() < 10


def test_left_and_right_of_the_mouth_are_both_asked_about():
    # 31 mouthDimpleRight ... pairs lie next to each other; 48 and 49 raise the upper lip.
    assert MOUTH_BLENDSHAPES[0] == 23
    assert MOUTH_BLENDSHAPES[-1] == 49


def test_a_clip_shorter_than_a_run_is_asked_about_whole(generator):
    teacher, _ = teacher_of(5, generator)
    random = np.random.default_rng(0)
    drawn = {int(i) for _ in range(20) for i in teacher.draw(random)}
    assert drawn == {0, 1, 2, 3, 4}


def test_targets_are_the_mouth_of_the_same_frame_standardised(generator):
    teacher, blendshapes = teacher_of(50, generator)
    jaw_open = 25
    column = MOUTH_BLENDSHAPES.index(jaw_open)
    expected = (blendshapes[:, jaw_open] - blendshapes[:, jaw_open].mean()) / blendshapes[
        :, jaw_open
    ].std(correction=0)
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
    assert LipTeacher(blendshapes, np.arange(30), speech_dim=6).target.abs().max() < 0.1
