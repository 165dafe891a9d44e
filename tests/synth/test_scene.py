"""The pictures agree with the truth that comes with them, and with the speech."""

import numpy as np
import pytest
import torch
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import binary_fill_holes

from sspnerf.config import SynthConfig
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass
from sspnerf.geometry.cameras import pixel_centers, pixel_directions, project_points
from sspnerf.synth.scene import (
    CAMERA_TO_STUDIO,
    REST_FACE,
    Performance,
    render_frame,
    rest_mesh,
    synthetic_camera,
)
from sspnerf.synth.surfaces import (
    NECK_BASE,
    NECK_BASE_RADIUS,
    NECK_TOP,
    NECK_TOP_RADIUS,
    head_distance,
)
from sspnerf.synth.visemes import phoneme_visemes

HEAD = [c for c in SemanticClass if c.name not in ("BACKGROUND", "NECK", "TORSO")]


def still(*, opening=0.0, eye_openness=1.0, turned=0.0):
    """One frame with the head turned by an angle, the torso at rest."""
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(turned)
    turn[0, 2], turn[2, 0] = np.sin(turned), -np.sin(turned)
    return Performance(
        poses=(np.linalg.inv(turn) @ CAMERA_TO_STUDIO)[None],
        torso_poses=CAMERA_TO_STUDIO[None],
        mouth=np.array([[opening, *REST_FACE[1:4]]]),
        eye_openness=np.array([eye_openness]),
        brow_raise=np.zeros(1),
        gaze=np.zeros((1, 2)),
        reference_frame=0,
    )


def count(picture, label):
    return int((picture.labels == label).sum())


def test_shows_all_classes_and_the_face_where_a_face_is(clip):
    shown = np.bincount(np.asarray(clip.labels).ravel(), minlength=SEMANTIC_CLASSES)
    assert (shown[:SEMANTIC_CLASSES] > 0).all()
    # In the reference frame: brows above eyes above nose above lips above neck above torso.
    labels = np.asarray(clip.labels[clip.manifest.reference_frame])
    order = ("HAIR", "BROW", "EYE", "NOSE", "LIP", "NECK", "TORSO")
    heights = [np.nonzero(labels == SemanticClass[name])[0].mean() for name in order]
    assert heights == sorted(heights)


def test_torso_points_go_back_to_their_pixels_through_the_torso_pose(clip):
    canonical, poses = clip.truth("canonical"), torch.from_numpy(np.array(clip.torso_poses))
    centers = pixel_centers(clip.manifest.width, clip.manifest.height)
    for i in (0, 20, 44):
        torso = (np.asarray(clip.labels[i]) == SemanticClass.TORSO).ravel()
        points = torch.from_numpy(np.array(canonical[i]).reshape(-1, 3)[torso])
        pixels = project_points(
            clip.manifest.intrinsics, poses[i].expand(len(points), 4, 4), points
        )
        assert len(points) > 200
        assert (pixels - centers[torch.from_numpy(torso)]).abs().max() < 1e-2


def test_rays_end_on_head_points(clip):
    camera = clip.manifest.intrinsics
    directions = pixel_directions(camera, pixel_centers(camera.width, camera.height)).numpy()
    for i in (0, 20, 44):
        head = np.isin(np.asarray(clip.labels[i]), HEAD).ravel()
        reached = directions[head] * np.asarray(clip.truth("distance")[i]).ravel()[head, None]
        pose = np.asarray(clip.poses[i])
        world = reached @ pose[:3, :3].T + pose[:3, 3]
        canonical = np.asarray(clip.truth("canonical")[i]).reshape(-1, 3)[head]
        np.testing.assert_allclose(world, canonical, atol=1e-4)


def test_truth_is_undefined_exactly_on_the_background(clip):
    background = np.asarray(clip.labels) == SemanticClass.BACKGROUND
    assert np.array_equal(np.isnan(clip.truth("distance")), background)
    assert np.array_equal(np.isnan(clip.truth("canonical")).all(axis=-1), background)


def test_neck_points_lie_on_the_neck_at_rest(clip):
    neck = np.asarray(clip.labels) == SemanticClass.NECK
    points = np.asarray(clip.truth("canonical"))[neck].astype(float)
    top, base = np.array(NECK_TOP), np.array(NECK_BASE)
    share = ((points - top) @ (base - top) / ((base - top) @ (base - top))).clip(0, 1)
    radius = NECK_TOP_RADIUS + share * (NECK_BASE_RADIUS - NECK_TOP_RADIUS)
    away = np.linalg.norm(points - top - share[:, None] * (base - top), axis=-1)
    # The march ends within 1e-3 cm of the surface.
    np.testing.assert_allclose(away, radius, atol=2e-3)


def test_the_rest_mesh_lies_on_the_rendered_skin():
    mesh = rest_mesh()
    surface = LinearNDInterpolator(mesh.vertices[:, :2], mesh.vertices[:, 2])
    picture = render_frame(synthetic_camera(48), still(), 0)
    points = picture.canonical[np.isin(picture.labels, [SemanticClass.SKIN, SemanticClass.NOSE])]
    error = np.abs(surface(points[:, 0], points[:, 1]) - points[:, 2])
    inside = np.isfinite(error)
    assert inside.sum() > 100
    # Between vertices half a centimetre apart the mesh cuts corners at the nose.
    assert np.median(error[inside]) < 0.02
    assert np.quantile(error[inside], 0.95) < 0.3


def test_the_rest_mesh_faces_the_camera_and_is_about_as_large_as_a_face():
    mesh = rest_mesh()
    a, b, c = (mesh.vertices[mesh.triangles[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert 6 < mesh.vertices[:, 2].max() < 8
    assert np.ptp(mesh.vertices[:, 0]) > 11


def test_landmarks_are_the_mesh_projected(clip):
    i = 30
    vertices = torch.from_numpy(clip.mesh.vertices)
    pose = torch.from_numpy(np.array(clip.poses[i])).expand(len(vertices), 4, 4)
    expected = project_points(clip.manifest.intrinsics, pose, vertices).numpy()
    np.testing.assert_allclose(clip.landmarks[i, :, :2], expected, atol=1e-3)
    # z grows towards the back: the tip of the nose is nearest.
    nearest = int(np.argmin(clip.landmarks[i, :, 2]))
    assert nearest == int(np.argmax(clip.mesh.vertices[:, 2]))


def test_lips_that_meet_hide_the_mouth(clip):
    times = (np.arange(clip.manifest.frames) + 0.5) / clip.manifest.frame_rate_hz
    interior = (np.asarray(clip.labels) == SemanticClass.MOUTH_INTERIOR).sum(axis=(1, 2))
    closed = np.zeros(len(times), bool)
    for phoneme in clip.truth("phonemes"):
        if phoneme_visemes(str(phoneme["symbol"])) == ["lips"]:
            closed |= (times > phoneme["start_s"]) & (times < phoneme["end_s"] - 0.015)
    assert closed.sum() >= 4
    assert interior[closed].max() == 0
    assert interior[~closed].max() >= 4


def test_the_picture_opens_the_mouth_as_far_as_the_shape_says(clip):
    interior = (np.asarray(clip.labels) == SemanticClass.MOUTH_INTERIOR).sum(axis=(1, 2))
    opening = clip.truth("mouth")[:, 0] * clip.truth("mouth")[:, 1]
    assert np.corrcoef(interior, opening)[0, 1] > 0.9


def test_a_blink_hides_the_eyes(clip):
    eyes = (np.asarray(clip.labels) == SemanticClass.EYE).sum(axis=(1, 2))
    openness = np.asarray(clip.truth("eye_openness"))
    assert openness.min() == 0
    assert eyes[openness == 0].max() == 0
    assert eyes[openness == 1].min() >= 6
    np.testing.assert_allclose(clip.blendshapes[:, 9], 1 - openness, atol=1e-6)


def test_a_wider_opening_shows_more_of_the_mouth():
    shown = [
        count(render_frame(synthetic_camera(48), still(opening=o), 0), SemanticClass.MOUTH_INTERIOR)
        for o in (0.0, 0.6, 1.2, 1.8)
    ]
    assert shown[0] == 0
    assert shown == sorted(set(shown))


def test_a_turned_head_leaves_the_torso_where_it_was():
    straight = render_frame(synthetic_camera(48), still(), 0)
    turned = render_frame(synthetic_camera(48), still(turned=0.3), 0)
    both = (straight.labels == SemanticClass.TORSO) & (turned.labels == SemanticClass.TORSO)
    assert both.sum() > 0.9 * count(straight, SemanticClass.TORSO)
    np.testing.assert_array_equal(straight.canonical[both], turned.canonical[both])
    # +y is up, so a positive turn moves the nose to +x, the picture's right.
    columns = [np.nonzero(p.labels == SemanticClass.NOSE)[1].mean() for p in (straight, turned)]
    assert columns[1] > columns[0] + 1


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 3}, "synth.size is 3; expected 16 to 1024"),
        ({"seconds": 0.0}, "synth.seconds is 0; expected 0.2 to 3600"),
        ({"frame_rate_hz": 1000.0}, "synth.frame_rate_hz is 1000; expected 1 to 120"),
        ({"seed": -1}, "synth.seed is -1; expected 0 to"),
    ],
)
def test_refuses_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        SynthConfig(**change)


@pytest.mark.parametrize("turned", [-0.2, 0.0, 0.2])
def test_no_ray_slips_through_the_person(turned):
    person = render_frame(synthetic_camera(256), still(turned=turned), 0).labels > 0
    assert np.array_equal(binary_fill_holes(person), person)


def test_head_points_lie_on_the_head():
    picture = render_frame(synthetic_camera(48), still(opening=1.2, turned=0.1), 0)
    surface = [SemanticClass[name] for name in ("SKIN", "NOSE", "LIP", "HAIR", "EAR", "BROW")]
    face = still(opening=1.2).faces[0]
    for x, y, z in picture.canonical[np.isin(picture.labels, surface)].astype(float):
        assert abs(head_distance(x, y, z, face)) < 2e-3
