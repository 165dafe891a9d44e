"""The portrait: what is loaded renders what was saved, and damage is named."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from small_fields import SMALL
from sspnerf.errors import PortraitError
from sspnerf.geometry.rotations import rigid_transform
from sspnerf.render import portrait as module
from sspnerf.render.portrait import PORTRAIT_WEIGHTS, load_portrait
from sspnerf.render.portrait_info import PORTRAIT_JSON


@pytest.fixture
def speech(portrait, tiny_clip):
    return portrait.hear(np.array(tiny_clip.feature("logmel")), np.array([4]))[0]


@pytest.fixture
def saved(portrait, tmp_path):
    portrait.save(tmp_path)
    return tmp_path


def change_info(run, **changes):
    content = json.loads((run / PORTRAIT_JSON).read_text()) | changes
    (run / PORTRAIT_JSON).write_text(json.dumps(content))


def change_tensors(run, change):
    tensors = load_file(run / PORTRAIT_WEIGHTS)
    change(tensors)
    save_file(tensors, run / PORTRAIT_WEIGHTS)


@pytest.mark.parametrize("clip_frame", [0, 11])
def test_a_loaded_portrait_renders_the_same_frames(portrait, saved, speech, clip_frame):
    expected = portrait.render_frame(speech, clip_frame=clip_frame)
    loaded = load_portrait(str(saved))
    found = loaded.render_frame(speech, clip_frame=clip_frame)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.info == portrait.info
    assert loaded.frames == 12
    assert sorted(path.name for path in saved.iterdir()) == [PORTRAIT_JSON, PORTRAIT_WEIGHTS]


def test_a_frame_has_the_documented_types(portrait, speech):
    frame = portrait.render_frame(speech, clip_frame=0)
    assert (frame.color.shape, frame.color.dtype) == ((48, 48, 3), np.uint8)
    for part, kind in ((frame.labels, np.uint8), (frame.accumulation, np.float32),
                       (frame.distance, np.float32)):  # fmt: skip
        assert (part.shape, part.dtype) == ((48, 48), kind)
    assert frame.labels.max() <= 10
    assert 0 <= frame.accumulation.min() <= frame.accumulation.max() <= 1


def test_where_the_person_cannot_be_the_plate_is_shown(portrait, speech, tiny_clip):
    frame = portrait.render_frame(speech, clip_frame=0)
    empty = frame.accumulation == 0
    assert 0.2 < empty.mean() < 0.9
    np.testing.assert_array_equal(frame.color[empty], tiny_clip.background[empty])
    assert not frame.labels[empty].any()
    assert not frame.distance[empty].any()
    assert (frame.distance[~empty] > 40).all()


def test_without_a_person_only_the_plate_is_shown(portrait, speech, tiny_clip):
    portrait.person_map = torch.zeros_like(portrait.person_map)
    frame = portrait.render_frame(speech, clip_frame=0)
    np.testing.assert_array_equal(frame.color, tiny_clip.background)


def test_chunks_do_not_show(portrait, speech, monkeypatch):
    expected = portrait.render_frame(speech, clip_frame=2)
    monkeypatch.setattr(module, "POINTS_PER_CHUNK", 97 * SMALL.band.samples)
    found = portrait.render_frame(speech, clip_frame=2)
    # Matrix products of another size may round the last bit of bfloat16 differently.
    assert np.abs(found.color.astype(int) - expected.color.astype(int)).max() <= 1


def test_chunks_are_of_few_sizes(portrait, speech):
    """Each size leaves its own matrix products in a cache that is never emptied."""
    sizes = set()
    portrait.driven.field.register_forward_pre_hook(
        lambda field, arguments: sizes.add(len(arguments[0]) // SMALL.band.samples)
    )
    for frame in range(12):
        portrait.render_frame(speech, clip_frame=frame)
    assert sizes
    assert all(size % module.RAYS_ROUNDED_TO == 0 for size in sizes)


def test_a_portrait_warms_up_with_a_few_rays(portrait):
    asked = []
    portrait.driven.field.register_forward_pre_hook(
        lambda field, arguments: asked.append(len(arguments[0]))
    )
    portrait.warm_up()
    assert len(asked) == 1
    assert asked[0] < 100


def test_the_picture_alone_is_the_frames(portrait, speech):
    given = {"pose": portrait.poses[3], "torso_pose": portrait.torso_poses[4]}
    expected = portrait.render_frame(speech, clip_frame=3, **given).color
    np.testing.assert_array_equal(portrait.render_color(speech, clip_frame=3, **given), expected)


def test_frames_follow_speech_pose_and_blinks(portrait, tiny_clip):
    features = np.array(tiny_clip.feature("logmel"))
    quiet, loud = (portrait.hear(features, np.array([i]))[0] for i in (0, 3))
    assert not torch.equal(quiet, loud)
    still = portrait.render_frame(quiet, clip_frame=4).color
    assert (still != portrait.render_frame(loud, clip_frame=4).color).any()
    assert (still != portrait.render_frame(quiet, clip_frame=0).color).any()
    portrait.blendshapes = portrait.blendshapes.clone()
    portrait.blendshapes[4, 9:11] = 1.0
    assert (still != portrait.render_frame(quiet, clip_frame=4).color).any()


def test_samples_lie_in_the_band_that_the_portrait_was_learned_with(portrait, speech):
    def lengths():
        asked = []
        hook = portrait.driven.field.register_forward_pre_hook(
            lambda field, arguments: asked.append(arguments[0])
        )
        portrait.render_frame(speech, clip_frame=0)
        hook.remove()
        points = asked[0].view(-1, SMALL.band.samples, 3)
        return (points[:, -1] - points[:, 0]).norm(dim=-1)

    # Frame 0 is the reference frame: head and torso agree and nothing is deformed.
    half = lengths()
    expected = (1 - 1 / SMALL.band.samples) * (SMALL.band.front + SMALL.band.back) * 0.5
    torch.testing.assert_close(half, torch.full_like(half, expected), rtol=1e-3, atol=0)
    portrait.info = portrait.info.model_copy(update={"band_scale": 1.0})
    torch.testing.assert_close(lengths(), 2 * half, rtol=1e-3, atol=0)


def test_a_frame_of_given_poses_is_that_of_the_clip_with_the_same_poses(portrait, speech):
    expected = portrait.render_frame(speech, clip_frame=3)
    given = {"pose": portrait.poses[3], "torso_pose": portrait.torso_poses[3]}
    found = portrait.render_frame(speech, clip_frame=3, **given)
    np.testing.assert_array_equal(found.color, expected.color)
    np.testing.assert_array_equal(found.distance, expected.distance)


def test_the_blinks_of_given_poses_are_those_of_the_clip_frame(portrait, speech):
    given = {"pose": portrait.poses[3], "torso_pose": portrait.torso_poses[3]}
    portrait.blendshapes = portrait.blendshapes.clone()
    portrait.blendshapes[7, 9:11] = 1.0
    open_eyes = portrait.render_frame(speech, clip_frame=3, **given).color
    assert (portrait.render_frame(speech, clip_frame=7, **given).color != open_eyes).any()


def test_a_torso_that_is_not_given_has_followed_the_head(portrait, speech):
    pose = portrait.poses[3]
    torso_pose = portrait.torso_follower.predict(pose[None], frame_rate_hz=25.0)[0]
    expected = portrait.render_frame(speech, clip_frame=0, pose=pose, torso_pose=torso_pose)
    found = portrait.render_frame(speech, clip_frame=0, pose=pose)
    np.testing.assert_array_equal(found.color, expected.color)
    glued = portrait.render_frame(speech, clip_frame=0, pose=pose, torso_pose=pose)
    assert (found.color != glued.color).any()


def canonical_column(portrait, speech, *, torso_turn):
    """Where the points of the picture's middle column lie canonically, from brow to chest."""
    asked = []
    hook = portrait.driven.field.register_forward_pre_hook(
        lambda field, arguments: asked.append(arguments[0])
    )
    pose = portrait.poses[0]
    torso_pose = rigid_transform(torch.tensor([*torso_turn, 0.0, 0.0, 0.0])) @ pose
    portrait.render_frame(speech, clip_frame=0, pose=pose, torso_pose=torso_pose)
    hook.remove()
    (position,) = asked
    return position.view(48, 48, SMALL.band.rendered, 3)[18:, 24, 1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_torso_turned_against_the_head_does_not_tear_the_neck(portrait, speech, axis):
    portrait.person_map = torch.ones_like(portrait.person_map)
    angle = math.radians(10)
    turn = [angle * (axis == i) for i in range(3)]
    rest = canonical_column(portrait, speech, torso_turn=[0.0, 0.0, 0.0])
    bent = canonical_column(portrait, speech, torso_turn=turn)
    steps, rest_steps = (column.diff(dim=0).norm(dim=-1) for column in (bent, rest))
    # The blend's weight grows by at most a quarter per cm (softness 1 cm), over a pixel of 0.75 cm
    # in the picture and as much more as the surface is slanted; the bones are this far apart.
    apart = 2 * math.sin(angle / 2) * rest[1:].norm(dim=-1)
    assert float(apart.max()) > 3.0
    assert (steps < 1.1 * rest_steps + 0.25 * 0.75 * apart).all()
    torch.testing.assert_close(bent[0], rest[0], rtol=0, atol=0.01)


def test_saving_again_replaces_what_was_there(portrait, saved):
    portrait.info = portrait.info.model_copy(update={"source": "another"})
    portrait.save(saved)
    assert load_portrait(saved).info.source == "another"
    assert len(list(saved.iterdir())) == 2


@pytest.mark.refuses
def test_a_folder_without_a_portrait_is_refused(tmp_path):
    expected = r"holds no portrait: portrait\.json is missing"
    with pytest.raises(PortraitError, match=expected) as caught:
        load_portrait(tmp_path)
    assert "sspnerf train" in caught.value.hint


@pytest.mark.refuses
@pytest.mark.parametrize("version", [0, 3, 5, None])
def test_another_version_is_refused(saved, version):
    change_info(saved, schema_version=version)
    with pytest.raises(PortraitError, match=f"portrait schema version {version}; .* reads 4"):
        load_portrait(saved)


@pytest.mark.refuses
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_description_that_cannot_be_read_is_named(saved, text):
    (saved / PORTRAIT_JSON).write_bytes(text)
    with pytest.raises(PortraitError, match=r"portrait\.json is damaged: .+"):
        load_portrait(saved)


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mood": "good"}, "mood: Extra inputs are not permitted"),
        ({"width": "wide"}, "width: Input should be a valid integer"),
        ({"camera": {"fx": 1.0, "fy": 1.0, "cx": 0.0}}, "camera.cy: Field required"),
    ],
)
def test_a_wrong_entry_of_the_description_is_named(saved, changes, message):
    change_info(saved, **changes)
    with pytest.raises(PortraitError, match=rf"portrait\.json is damaged: {message}"):
        load_portrait(saved)


@pytest.mark.refuses
@pytest.mark.parametrize("kept", [None, 0, 5, 2000])
def test_weights_that_are_missing_or_cut_off_are_named(saved, kept):
    weights = saved / PORTRAIT_WEIGHTS
    content = weights.read_bytes()
    weights.unlink()
    if kept is not None:
        weights.write_bytes(content[:kept])
    expected = r"portrait\.safetensors cannot be loaded: .+"
    with pytest.raises(PortraitError, match=expected) as caught:
        load_portrait(saved)
    assert caught.value.hint


@pytest.mark.refuses
@pytest.mark.parametrize(
    "config",
    [{}, {"field": {"extent": 24.0}}, {"stepps": 3}, {"field": {"hidden": "wide"}}],
)
def test_settings_that_do_not_fit_the_weights_are_refused(saved, config):
    change_info(saved, config=config)
    with pytest.raises(PortraitError, match=r"cannot be loaded: .+"):
        load_portrait(saved)


@pytest.mark.refuses
@pytest.mark.parametrize(
    "name",
    [
        "poses",
        "blendshapes",
        "background",
        "person_map",
        "driven.field.table",
        "torso_follower.weight",
    ],
)
def test_a_missing_tensor_is_refused(saved, name):
    change_tensors(saved, lambda tensors: tensors.pop(name))
    with pytest.raises(PortraitError, match=r"cannot be loaded: .+"):
        load_portrait(saved)


@pytest.mark.refuses
@pytest.mark.parametrize(
    "name",
    ["torso_poses", "blendshapes", "background", "person_map", "torso_follower.weight"],
)
def test_a_tensor_of_another_shape_is_named(saved, name):
    change_tensors(saved, lambda tensors: tensors.update({name: tensors[name][:-1].clone()}))
    with pytest.raises(PortraitError, match=rf"{name} has shape \(.*\); expected \(.*\)"):
        load_portrait(saved)
