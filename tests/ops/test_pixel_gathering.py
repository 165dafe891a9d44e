"""Pixels read from pictures, on every backend: by hand, pixel by pixel, and from memory maps."""

import numpy as np
import pytest
import torch

from sspnerf.ops.pixel_gathering import gather_pixels, reference_gather_pixels


def some_pictures(frames=3, height=5, width=7):
    random = np.random.default_rng(4)
    shape = (frames, height, width)
    return (
        random.integers(0, 256, (*shape, 3), dtype=np.uint8),
        random.integers(0, 11, shape, dtype=np.uint8),
        random.integers(0, 256, shape, dtype=np.uint8),
        random.integers(0, 256, (height, width, 3), dtype=np.uint8),
    )


def some_rays(rays, frames=3, pixels=35):
    random = np.random.default_rng(9)
    return {"frame": random.integers(0, frames, rays), "pixel": random.integers(0, pixels, rays)}


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_each_ray_gets_what_its_pixel_shows(backend):
    frames, labels, mask, background = some_pictures()
    rays = some_rays(50)
    found = gather_pixels(frames, labels, mask, background, **rays)
    for ray, (frame, pixel) in enumerate(zip(rays["frame"], rays["pixel"], strict=True)):
        row, column = divmod(int(pixel), 7)
        for channel in range(3):
            value = np.float32(frames[frame, row, column, channel]) / np.float32(255)
            assert found.color[ray, channel] == value
            value = np.float32(background[row, column, channel]) / np.float32(255)
            assert found.background[ray, channel] == value
        assert found.label[ray] == labels[frame, row, column]
        assert found.mask[ray] == np.float32(mask[frame, row, column]) / np.float32(255)
    assert [part.dtype for part in found] == [
        torch.float32, torch.int64, torch.float32, torch.float32,
    ]  # fmt: skip


def test_every_value_is_a_255th_exactly(backend):
    values = np.arange(256, dtype=np.uint8).reshape(1, 1, 256)
    color = np.repeat(values[..., None], 3, axis=-1)
    rays = {"frame": np.zeros(256, np.int64), "pixel": np.arange(256)}
    found = gather_pixels(color, values, values, color[0], **rays)
    expected = torch.arange(256).float() / 255
    assert torch.equal(found.mask, expected)
    assert torch.equal(found.color, expected[:, None].expand(256, 3))
    assert torch.equal(found.background, found.color)
    assert torch.equal(found.label, torch.arange(256))


@pytest.mark.parametrize("rays", [0, 1, 33, 1000])
def test_every_backend_reads_what_the_reference_reads(rays, backend):
    chosen = some_rays(rays)
    found = gather_pixels(*some_pictures(), **chosen)
    assert_same(found, reference_gather_pixels(*some_pictures(), **chosen))
    assert found.color.shape == (rays, 3)


def test_memory_maps_are_read_as_arrays_are(tmp_path, backend):
    pictures, rays = some_pictures(), some_rays(40)
    maps = []
    for place, array in enumerate(pictures):
        np.save(tmp_path / f"{place}.npy", array)
        maps.append(np.asarray(np.load(tmp_path / f"{place}.npy", mmap_mode="r")))
    assert_same(gather_pixels(*maps, **rays), reference_gather_pixels(*pictures, **rays))


def test_arrays_that_lie_differently_are_read_alike(backend):
    frames, labels, mask, background = some_pictures()
    rays = some_rays(40)
    turned = (np.asfortranarray(frames), np.asfortranarray(labels), mask[:, ::-1], background)
    expected = reference_gather_pixels(frames, labels, mask[:, ::-1], background, **rays)
    assert_same(gather_pixels(*turned, **rays), expected)


@pytest.mark.refuses
@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("frame", [0, 3], "frame reaches from 0 to 3; expected 0 to 2"),
        ("frame", [-1, 0], "frame reaches from -1 to 0; expected 0 to 2"),
        ("pixel", [0, 35], "pixel reaches from 0 to 35; expected 0 to 34"),
        ("pixel", [-2, 0], "pixel reaches from -2 to 0; expected 0 to 34"),
    ],
)
def test_places_outside_are_refused(name, values, told, backend):
    rays = some_rays(2) | {name: np.array(values)}
    with pytest.raises(IndexError, match=told):
        gather_pixels(*some_pictures(), **rays)


@pytest.mark.refuses
@pytest.mark.parametrize("place", range(4))
def test_pictures_that_do_not_fit_are_refused(place, backend):
    pictures = list(some_pictures())
    pictures[place] = pictures[place][:, :-1]
    with pytest.raises(ValueError, match="expected the same pictures in all"):
        gather_pixels(*pictures, **some_rays(2))


@pytest.mark.refuses
def test_rays_without_a_pixel_each_are_refused(backend):
    rays = some_rays(4) | {"pixel": np.zeros(3, np.int64)}
    with pytest.raises(ValueError, match=r"shapes \(4,\) and \(3,\); expected \(rays,\) both"):
        gather_pixels(*some_pictures(), **rays)
