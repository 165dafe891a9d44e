"""One step of learning: gradients reach everything, the loss falls, the state survives."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import small_learners
from sspnerf.config import PRESETS, DeformationConfig, FieldConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.fields.conditioning import frame_windows, neighbour_frames
from sspnerf.geometry.rest_surface import rest_surface
from sspnerf.render.portrait import load_portrait

SMALL = replace(
    PRESETS["fast"],
    rays_per_step=256,
    frames_per_step=4,
    field=FieldConfig(resolutions=(8, 16, 32), hidden=32),
)


def learner_of(clip, config=SMALL):
    return small_learners.learner_of(clip, config)


def test_every_parameter_receives_a_gradient(tiny_clip):
    learner = learner_of(tiny_clip)
    moved = set()
    # Several steps: the deformation's last layer starts at zero, and few frames blink.
    for _ in range(8):
        learner.step(0.0)
        for name, parameter in learner.driven.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            if parameter.grad.abs().max() > 0:
                moved.add(name)
    assert moved == {name for name, _ in learner.driven.named_parameters()}
    for bone in ("head", "torso"):
        assert learner.corrections[bone].knots.grad.abs().max() > 0


def test_the_error_falls_to_less_than_half(tiny_clip):
    # Uniform: errors of rays drawn by the classes' losses are of ever harder rays.
    learner = learner_of(tiny_clip, replace(SMALL, sampling="uniform"))
    errors = [learner.step(i / 200).photometric for i in range(200)]
    assert np.mean(errors[-5:]) < 0.5 * np.mean(errors[:5])


def test_the_same_seed_learns_the_same(tiny_clip):
    first, second = learner_of(tiny_clip), learner_of(tiny_clip)
    for _ in range(3):
        assert first.step(0.0) == pytest.approx(second.step(0.0), rel=1e-4)
    other = learner_of(tiny_clip, replace(SMALL, seed=1))
    assert other.step(0.0).loss != pytest.approx(first.step(0.0).loss, rel=1e-4)


def test_a_restored_state_goes_on_as_if_nothing_had_happened(tiny_clip):
    straight = learner_of(tiny_clip)
    for _ in range(4):
        straight.step(0.1)
    tensors, plain = straight.state()
    restored = learner_of(tiny_clip)
    restored.load_state({name: t.clone() for name, t in tensors.items()}, plain)
    assert restored.sampler.state() == straight.sampler.state()
    for _ in range(3):
        assert restored.step(0.2) == pytest.approx(straight.step(0.2), rel=1e-3)


@pytest.mark.parametrize("bone", ["head", "torso"])
def test_the_pose_correction_neither_shakes_nor_moves_the_portrait(tiny_clip, bone):
    learner = learner_of(tiny_clip, replace(SMALL, correction_every=1))
    tracked = [torch.from_numpy(np.array(p)) for p in (tiny_clip.poses, tiny_clip.torso_poses)]
    with torch.no_grad():
        learner.corrections[bone].knots[:, 3] = 0.5
        learner.corrections[bone].knots[0, 3] += 0.1
    training = np.arange(len(learner.dataset.training))
    corrected = learner.corrected_poses(training)
    shifts = [(c - t[training])[:, 0, 3] for c, t in zip(corrected, tracked, strict=True)]
    shift, other = shifts if bone == "head" else shifts[::-1]
    assert shift.mean().abs() < 1e-6
    torch.testing.assert_close(shift[0] - shift[1], torch.tensor(0.1))
    assert not other.any()
    portrait = learner.portrait(1.0)
    assert torch.equal(portrait.poses, tracked[0])
    assert torch.equal(portrait.torso_poses, tracked[1])


def test_a_torso_that_follows_the_head_has_no_pose_to_correct(tiny_clip):
    glued = learner_of(tiny_clip, replace(SMALL, torso_deformation=False))
    assert list(glued.corrections) == ["head"]
    assert not learner_of(tiny_clip, replace(SMALL, pose_correction=False)).corrections


def test_training_hears_what_rendering_hears(tiny_clip):
    """Shared speech windows give the same encoding as each frame's own eight."""
    learner, frames = learner_of(tiny_clip), np.array([0, 3, 4, 11])
    windows = frame_windows(
        learner.speech.features, neighbour_frames(frames), rate_hz=100.0, frame_rate_hz=25.0
    )
    expected = learner.driven.speech_encoder(windows)
    torch.testing.assert_close(learner.hear(frames, augment=False), expected)
    heard = learner.portrait(0.0).hear(learner.speech.features, frames)
    torch.testing.assert_close(heard, expected.detach())


def test_without_parsing_the_semantic_branch_learns_nothing(tiny_clip):
    learner = learner_of(tiny_clip, replace(SMALL, parsing=False))
    learner.step(0.0)
    assert all(p.grad is None or p.grad.abs().max() == 0
               for p in learner.driven.field.semantic_net.parameters())  # fmt: skip


def test_the_field_knows_the_rest_surface(tiny_clip):
    field = learner_of(tiny_clip).driven.field
    expected = torch.from_numpy(rest_surface(tiny_clip.mesh, extent=field.extent))
    assert expected.abs().max() > 1
    assert torch.equal(field.surface, expected)


def test_the_rough_mesh_knows_its_regions(tiny_clip):
    learner = learner_of(tiny_clip)
    regions, extent = learner.driven.field.regions, learner.config.field.extent
    assert regions.shape[-1] == SEMANTIC_CLASSES
    total = regions.sum(dim=-1)
    assert (total <= 1 + 1e-5).all()
    nodes = regions.shape[1]

    def at(x, y):
        column, row = (int((c / extent * 0.5 + 0.5) * nodes) for c in (x, y))
        return regions[row, column]

    # The eyes, the hair, and the torso's middle of the tiny speaker.
    assert at(3.0, 2.5)[SemanticClass.EYE] > 0.5
    assert at(0.0, 7.0)[SemanticClass.HAIR] > 0.9
    assert at(0.0, -14.5)[SemanticClass.TORSO] > 0.9
    assert learner_of(tiny_clip, replace(SMALL, rough_mesh=False)).driven.field.regions.sum() == 0


@pytest.mark.parametrize("form", ["both", "bones", "network"])
def test_every_form_of_the_torso_deformation_learns(tiny_clip, form):
    config = replace(SMALL, deformation=DeformationConfig(form=form, hidden=16, layers=3))
    learner = learner_of(tiny_clip, config)
    errors = [learner.step(0.0).photometric for _ in range(30)]
    assert np.mean(errors[-5:]) < np.mean(errors[:5])
    for name, parameter in learner.driven.torso_deformation.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 1.0), (0.25, 0.665), (1.0, 0.33)])
def test_a_portrait_keeps_the_bands_width_of_its_moment(tiny_clip, tmp_path, progress, expected):
    learner_of(tiny_clip).portrait(progress).save(tmp_path)
    assert load_portrait(tmp_path).info.band_scale == pytest.approx(expected)


def test_training_samples_a_band_that_narrows(tiny_clip):
    learner = learner_of(tiny_clip)
    asked = []
    learner.driven.field.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
    for progress in (0.0, 1.0):
        learner.step(progress)
    samples = learner.config.band.samples
    first_to_last = [at.detach().view(-1, samples, 3)[:, [0, -1]] for at in asked]
    wide, narrow = (ends.diff(dim=1).norm(dim=-1).mean() for ends in first_to_last)
    # Thousands of random shifts of the samples in their intervals leave a few thousandths.
    assert float(narrow / wide) == pytest.approx(learner.config.band.narrow_to, abs=0.02)
