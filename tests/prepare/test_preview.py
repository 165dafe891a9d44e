"""The preview draws what it is given."""

import numpy as np

from prepare.simulated import simulate
from sspnerf.data.semantics import PALETTE, SemanticClass
from sspnerf.geometry.intrinsics import Intrinsics
from sspnerf.prepare.preview import PreviewFrame, draw_preview

CAMERA = Intrinsics.from_field_of_view(64, 64)
ANCHORS = np.zeros((2, 3))


def frame(*, valid=True, label=SemanticClass.TORSO):
    pose = simulate(1, 1, seed=0).poses[0]
    landmarks = np.full((478, 3), 32, np.float32)
    return PreviewFrame(
        np.zeros((64, 64, 3), np.uint8),
        np.full((64, 64), label, np.uint8),
        landmarks,
        pose,
        pose,
        valid,
    )


def test_labels_tint_the_picture_with_their_color():
    shown = draw_preview(frame(), intrinsics=CAMERA, anchors=ANCHORS)
    assert shown.shape == (384, 384, 3)
    np.testing.assert_allclose(shown[5, 5], 0.4 * PALETTE[SemanticClass.TORSO], atol=1)


def test_a_lost_frame_has_a_red_rim():
    shown = draw_preview(frame(valid=False), intrinsics=CAMERA, anchors=ANCHORS)
    np.testing.assert_array_equal(shown[1, 200], [255, 0, 0])


def test_the_axes_start_where_the_head_is():
    """Red is x of head space, towards the picture's right."""
    plain = draw_preview(frame(), intrinsics=CAMERA, anchors=ANCHORS)
    far = draw_preview(frame(), intrinsics=CAMERA, anchors=ANCHORS + 1000)
    drawn = np.argwhere((plain != far).any(axis=-1) & (plain[..., 0] > 200))
    head = simulate(1, 1, seed=0).poses[0]
    origin = np.linalg.inv(head)[:3, 3]
    scale = 384 / 64
    x = scale * (CAMERA.fx * origin[0] / origin[2] + CAMERA.cx)
    # The other axes start there too, and are drawn over its first pixels.
    assert abs(drawn[:, 1].min() - x) < 10
    assert drawn[:, 1].max() > x + 40


def test_a_large_clip_is_shown_smaller():
    large = frame()._replace(
        picture=np.full((512, 512, 3), 100, np.uint8),
        labels=np.full((512, 512), SemanticClass.BACKGROUND, np.uint8),
    )
    shown = draw_preview(large, intrinsics=CAMERA, anchors=ANCHORS + 1000)
    assert shown.shape == (384, 384, 3)
    expected = 0.8 * 100 + 0.2 * PALETTE[SemanticClass.BACKGROUND].astype(float)
    np.testing.assert_allclose(shown[5, 5], expected, atol=1)
