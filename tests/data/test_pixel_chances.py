"""Chances of pixels: the same for all of a class, whatever the backend."""

import numpy as np
import pytest

import oracles
from sspnerf.data.pixel_sampling import PERSON_MARGIN_PX, PERSON_THRESHOLD, PixelSampler
from sspnerf.data.semantics import SEMANTIC_CLASSES, SemanticClass

BACKGROUND, SKIN, LIP = SemanticClass.BACKGROUND, SemanticClass.SKIN, SemanticClass.LIP


@pytest.fixture
def random():
    return np.random.default_rng(11)


@pytest.fixture
def pictures():
    """Two frames of 30 x 40 px: skin with lips, once at the picture's rim, and one pixel of eye."""
    labels = np.full((2, 30, 40), BACKGROUND, dtype=np.uint8)
    labels[0, 5:15, 5:15] = SKIN
    labels[0, 11:13, 8:12] = LIP
    labels[1, 22:, 25:] = SKIN
    labels[1, 25, 30] = SemanticClass.EYE
    return labels, np.where(labels != BACKGROUND, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("background", ["near", "all"])
@pytest.mark.parametrize("frame", [0, 1])
def test_inside_a_class_every_pixel_has_the_same_chance(
    pictures, random, frame, share, background, backend
):
    labels, mask = (maps[frame : frame + 1] for maps in pictures)
    sampler = PixelSampler(kind="dynamic", uniform_share=share, background=background)
    rays = 100_000
    drawn = sampler.draw(labels, mask, rays=rays, generator=random)
    count = np.bincount(drawn.pixel, minlength=1200)
    near = oracles.dilate_picture(mask[0].tolist(), PERSON_THRESHOLD, PERSON_MARGIN_PX)
    available = (labels[0] != BACKGROUND) | np.array(near, bool) | (background == "all")
    classes = np.where(available, labels[0], -1).reshape(-1)
    pixels = np.array([(classes == k).sum() for k in range(SEMANTIC_CLASSES)])
    # The uniform rays, and the others in equal shares where there are pixels.
    expected = share * pixels / pixels.sum() + (1 - share) * (pixels > 0) / (pixels > 0).sum()
    for k in np.flatnonzero(pixels):
        mean = rays * expected[k] / pixels[k]
        total = mean * pixels[k]
        assert count[classes == k].sum() == pytest.approx(total, abs=4 * total**0.5 + 1)
        deviation = ((count[classes == k] - count[classes == k].mean()) ** 2).sum() / mean
        # Chi-square: as much as degrees of freedom, within 4 of its deviations.
        freedom = pixels[k] - 1
        assert abs(deviation - freedom) < 4 * (2 * freedom) ** 0.5 + 4
    assert count[classes == -1].sum() == 0
    assert count.sum() == rays


def test_every_backend_draws_the_same_pixels(pictures, monkeypatch):
    pytest.importorskip("numba")
    labels, mask = pictures
    drawn = []
    for name in ("reference", "numba"):
        monkeypatch.setenv("SSPNERF_BACKEND", name)
        sampler = PixelSampler(kind="dynamic", uniform_share=0.3)
        random = np.random.default_rng(1)
        drawn.append(sampler.draw(labels, mask, rays=500, generator=random))
    for first, second in zip(*drawn, strict=True):
        np.testing.assert_array_equal(first, second)
