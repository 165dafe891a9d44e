"""What single pictures tell, on pictures that were made: shifted, lit, covered by known amounts."""

import cv2
import numpy as np
import pytest

from sspnerf.prepare.picture_measures import (
    compare_backgrounds,
    face_light,
    face_patch,
    small_background,
    strangeness,
)

SIDE = 256


@pytest.fixture(scope="module")
def scene():
    """A wall with pictures on it, larger than the frame."""
    random = np.random.default_rng(0)
    sizes = ((4, 110), (12, 50), (40, 30))
    drawn = np.full((SIDE + 80, SIDE + 80, 3), 128.0)
    for cells, contrast in sizes:
        part = random.uniform(-contrast, contrast, (cells, cells, 3))
        drawn += cv2.resize(part, drawn.shape[:2], interpolation=cv2.INTER_CUBIC)
    return np.clip(drawn, 0, 255).astype(np.uint8)


def person_mask():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (128, 150), (60, 100), 0, 0, 360, 255, -1)
    return mask


def filmed(scene, shift=(0.0, 0.0), gain=1.0, offset=0.0, seed=0):
    """A frame: the scene shifted, lit, with noise, and somebody before it who is never the same."""
    random = np.random.default_rng(seed)
    matrix = np.array([[1, 0, shift[0] - 40], [0, 1, shift[1] - 40]], np.float32)
    picture = cv2.warpAffine(scene, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC).astype(float)
    picture = gain * picture + offset + random.normal(0, 2, picture.shape)
    picture[person_mask() > 0] = random.integers(0, 255)
    return np.clip(picture, 0, 255).astype(np.uint8)


def compared(scene, **changes):
    first = small_background(filmed(scene), person_mask())
    return compare_backgrounds(
        first, small_background(filmed(scene, seed=1, **changes), person_mask())
    )


def test_a_still_camera_does_not_move_and_its_light_does_not_change(scene):
    found = compared(scene)
    assert found.shift < 0.0005
    assert abs(found.light) < 0.005
    assert found.change < 2


@pytest.mark.parametrize("shift", [(1.3, 0.0), (-4.0, 2.5), (0.0, 10.0), (15.0, -15.0)])
def test_a_shaken_camera_is_measured(scene, shift):
    found = compared(scene, shift=shift)
    assert found.shift == pytest.approx(np.hypot(*shift) / SIDE, rel=0.03, abs=0.0005)
    assert abs(found.light) < 0.02


@pytest.mark.parametrize("gain", [0.7, 0.9, 1.1])
def test_light_is_measured_whether_the_camera_moves_or_not(scene, gain):
    assert compared(scene, gain=gain).light == pytest.approx(gain - 1, abs=0.02)
    both = compared(scene, gain=gain, shift=(5.0, 0.0))
    assert both.light == pytest.approx(gain - 1, abs=0.02)
    assert both.shift == pytest.approx(5 / SIDE, abs=0.001)


def test_another_background_is_a_change_that_nothing_explains(scene):
    other = np.rot90(scene).copy()
    first = small_background(filmed(scene), person_mask())
    found = compare_backgrounds(first, small_background(filmed(other), person_mask()))
    assert found.change > 15


def test_a_wall_without_texture_tells_of_light_and_not_of_motion():
    wall = np.full((SIDE + 80, SIDE + 80, 3), 120, np.uint8)
    found = compared(wall, shift=(9.0, 0.0), gain=0.8)
    assert np.isnan(found.shift)
    assert found.light == pytest.approx(-0.2, abs=0.02)


def test_a_picture_full_of_person_tells_nothing(scene):
    full = small_background(filmed(scene), np.full((SIDE, SIDE), 255, np.uint8))
    assert np.isnan(compare_backgrounds(full, full)).all()


def test_the_face_is_as_light_as_its_skin():
    picture = np.full((64, 64, 3), 200, np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    assert face_light(picture, labels) is None
    labels[:32] = 1
    picture[:32], picture[:8] = 40, 255
    found = face_light(picture, labels)
    assert found.level == pytest.approx((40 * 24 + 255 * 8) / 32, abs=0.1)
    assert found.burnt == pytest.approx(0.25)


def drawn_face(opening, look, hand=False):
    """A face with a mouth and eyes that move, on 96 px, and its landmarks."""
    picture = np.full((96, 96, 3), (200, 160, 130), np.uint8)
    for x in (34, 62):
        cv2.circle(picture, (x, 40), 6, (250, 250, 250), -1, cv2.LINE_AA)
        cv2.circle(picture, (x + look, 40), 3, (40, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (48, 68), (10, 2 + opening), 0, 0, 360, (120, 30, 40), -1, cv2.LINE_AA)
    if hand:
        cv2.ellipse(picture, (48, 68), (26, 16), 10, 0, 360, (170, 130, 105), -1, cv2.LINE_AA)
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[[33, 263, 152], :2] = [(26, 40), (70, 40), (48, 88)]
    noise = np.random.default_rng(7 * opening + look + 3).normal(0, 2, picture.shape)
    return face_patch(np.clip(picture + noise, 0, 255).astype(np.uint8), landmarks), landmarks


def test_a_patch_holds_the_face_wherever_it_is():
    picture = np.full((200, 200, 3), 90, np.uint8)
    landmarks = np.zeros((478, 3), np.float32)
    corners = np.array([(60.0, 80.0), (140.0, 80.0), (100.0, 160.0)], np.float32)
    for at, color in zip(corners, ((250, 0, 0), (0, 250, 0), (0, 0, 250)), strict=True):
        cv2.circle(picture, tuple(at.astype(int).tolist()), 12, color, -1)
    landmarks[[33, 263, 152], :2] = corners
    patch = face_patch(picture, landmarks)
    turn = cv2.getRotationMatrix2D((100, 100), 25, 0.8)
    turned = cv2.warpAffine(picture, turn, (200, 200), borderValue=(90, 90, 90))
    landmarks[[33, 263, 152], :2] = corners @ turn[:, :2].T + turn[:, 2]
    np.testing.assert_allclose(face_patch(turned, landmarks), patch, atol=25)
    assert patch[6, 4, 0] > 200
    assert patch[6, 28, 1] > 200
    assert patch[30, 16, 2] > 200


def test_a_hand_before_the_mouth_is_strange_and_speaking_is_not():
    random = np.random.default_rng(3)
    moves = [(int(random.integers(0, 8)), int(random.integers(-3, 4))) for _ in range(200)]
    patches = np.array([drawn_face(*move)[0] for move in moves])
    calm = strangeness(patches, near=10)
    assert calm.max() < 3
    for index in range(100, 108):
        patches[index] = drawn_face(*moves[index], hand=True)[0]
    found = strangeness(patches, near=10)
    assert found[100:108].min() > 3.5
    assert np.delete(found, range(100, 108)).max() < 3


def test_too_few_pictures_say_nothing():
    patches = np.array([drawn_face(k % 8, 0)[0] for k in range(50)])
    assert not strangeness(patches, near=10).any()
