"""Finding the world of a layout: simulated faces whose cameras are known in both worlds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("mediapipe")

from prepare.simulated import CAMERA, FLIP, project, simulate
from sspnerf.exchange.face import find_face
from sspnerf.prepare.observations import Observations

FRAMES = 60
# Their world: turned, moved and of another unit. X_theirs = (X_ours - SHIFT) @ TURN / CM.
TURN = Rotation.from_euler("xyz", (8, -5, 3), degrees=True).as_matrix()
SHIFT, CM = np.array([0.5, -2.0, 1.5]), 91.0


def observed_and_cameras(camera=CAMERA):
    """What MediaPipe would see, without noise; and what the layout would say."""
    take = simulate(468, FRAMES, seed=3, camera=camera)
    to_camera = np.linalg.inv(take.poses)
    depth = (take.rest @ to_camera[:, :3, :3].swapaxes(1, 2) + to_camera[:, None, :3, 3])[..., 2]
    origin = to_camera[:, 2, 3, None]
    landmarks = np.zeros((FRAMES, 478, 3), np.float32)
    landmarks[:, :468, :2] = take.seen_px
    landmarks[:, :468, 2] = camera.fx * (depth - origin) / origin
    landmarks[:, 468:] = landmarks[:, :10]
    # MediaPipe believes in its own lens: a face seen through a longer one is nearer to it.
    believed = FLIP @ to_camera
    believed[:, 2, 3] *= CAMERA.fx / camera.fx
    observed = Observations(landmarks, believed, np.full((FRAMES, 52), 0.1, np.float32))
    theirs = take.poses @ FLIP
    theirs[:, :3, :3] = TURN.T @ theirs[:, :3, :3]
    theirs[:, :3, 3] = (take.poses[:, :3, 3] - SHIFT) @ TURN / CM
    return take, observed, theirs


def test_the_cameras_come_out_in_our_world_and_cm():
    take, observed, theirs = observed_and_cameras()
    face = find_face(observed, theirs, CAMERA, frame_rate_hz=25.0)
    assert face.valid.all()
    assert 100 * face.world.scale == pytest.approx(CM, rel=0.02)
    off = np.linalg.norm(face.poses[:, :3, 3] - take.poses[:, :3, 3], axis=1)
    assert off.max() < 0.8
    turned = Rotation.from_matrix(face.poses[:, :3, :3].swapaxes(1, 2) @ take.poses[:, :3, :3])
    assert np.degrees(turned.magnitude()).max() < 1.0
    # Whatever the world, the mesh appears where it was seen.
    assert face.reprojection_px < 0.1
    np.testing.assert_allclose(project(face.poses, face.rest), take.seen_px, atol=0.5)


def test_a_longer_lens_than_mediapipes_is_theirs_to_tell():
    """AD-NeRF's lenses are long: 1100 px at 450 px for its Obama."""
    lens = replace(CAMERA, fx=1250.0, fy=1250.0)
    take, observed, theirs = observed_and_cameras(lens)
    face = find_face(observed, theirs, lens, frame_rate_hz=25.0)
    assert 100 * face.world.scale == pytest.approx(CM, rel=0.05)
    assert face.reprojection_px < 0.1
    np.testing.assert_allclose(project(face.poses, face.rest, lens), take.seen_px, atol=0.5)
    away = -(face.poses[:, :3, 2] * face.poses[:, :3, 3]).sum(axis=1)
    assert away.mean() == pytest.approx(40 * 1250 / CAMERA.fx, rel=0.05)


def test_a_frame_without_a_camera_and_one_without_a_face_are_not_valid():
    take, observed, theirs = observed_and_cameras()
    theirs[20] = np.nan
    observed.put(40, None)
    face = find_face(observed, theirs, CAMERA, frame_rate_hz=25.0)
    assert np.flatnonzero(~face.valid).tolist() == [20, 40]
    between = (take.poses[19, :3, 3] + take.poses[21, :3, 3]) / 2
    assert np.linalg.norm(face.poses[20, :3, 3] - between) < 0.8
    assert np.isfinite(face.landmarks).all()


def test_cameras_of_other_pictures_miss_the_face():
    _, observed, theirs = observed_and_cameras()
    face = find_face(observed, np.roll(theirs, 15, axis=0), CAMERA, frame_rate_hz=25.0)
    assert face.reprojection_px > 5
