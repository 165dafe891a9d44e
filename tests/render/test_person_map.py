"""Where the person can be: pixels that show the person are kept, in poses never filmed too."""

import numpy as np
import pytest
import torch

from small_fields import FEATURE_DIM, SMALL, WINDOW, untrained
from sspnerf.fields.driven_field import DrivenField
from sspnerf.fields.torso import Canonical
from sspnerf.geometry.cameras import pixel_centers
from sspnerf.geometry.rays import cast_rays
from sspnerf.render.band import surface_distance
from sspnerf.render.person_map import (
    MAP_MARGIN_NODES,
    MAP_NODES,
    canonical_nodes,
    mark_person,
    on_person,
    rays_on_person,
    widen_map,
)


@pytest.fixture(scope="module")
def driven(tiny_clip, surface):
    made = untrained()
    vertices = torch.from_numpy(tiny_clip.mesh.vertices)
    made.field.surface.copy_(surface)
    made.place(vertices, Canonical(torch.eye(4), 0.0))
    return made


def rays_of_frame(clip, frame):
    pixels = pixel_centers(clip.manifest.width, clip.manifest.height)
    return cast_rays(
        clip.manifest.intrinsics,
        pixels,
        poses=torch.from_numpy(np.array(clip.poses[frame : frame + 1])),
        torso_poses=torch.from_numpy(np.array(clip.torso_poses[frame : frame + 1])),
        slot=torch.zeros(len(pixels), dtype=torch.long),
    )


def shows_person(clip, frame):
    return torch.from_numpy(np.array(clip.mask[frame])).reshape(-1) > 0


def collected(clip, driven, frames):
    person_map = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
    for frame in frames:
        rays = rays_of_frame(clip, frame)
        mark_person(person_map, driven, rays, person=shows_person(clip, frame))
    return person_map


def test_pixels_that_show_the_person_are_kept(tiny_clip, driven):
    person_map = collected(tiny_clip, driven, range(12))
    for frame in range(12):
        kept = on_person(person_map, driven, rays_of_frame(tiny_clip, frame))
        assert kept[shows_person(tiny_clip, frame)].all()


def test_most_of_the_background_is_left_out(tiny_clip, driven):
    person_map = widen_map(collected(tiny_clip, driven, range(12)))
    kept = on_person(person_map, driven, rays_of_frame(tiny_clip, 0))
    background = ~shows_person(tiny_clip, 0)
    assert kept[background].float().mean() < 0.25


def test_poses_that_were_not_filmed_are_covered_after_widening(tiny_clip, driven):
    # At 48 px a pixel is 4 cells wide: filmed frames leave gaps, the margin closes them.
    person_map = widen_map(collected(tiny_clip, driven, range(0, 12, 2)))
    kept = on_person(person_map, driven, rays_of_frame(tiny_clip, 3))
    assert kept[shows_person(tiny_clip, 3)].float().mean() > 0.97


def test_nothing_filmed_shows_nobody(tiny_clip, driven):
    nobody = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
    assert not on_person(nobody, driven, rays_of_frame(tiny_clip, 0)).any()
    assert on_person(~nobody, driven, rays_of_frame(tiny_clip, 0)).all()


def test_kept_rays_come_with_where_they_meet_the_surface(tiny_clip, driven):
    person_map = collected(tiny_clip, driven, range(12))
    rays = rays_of_frame(tiny_clip, 0)
    found = rays_on_person(person_map, driven, rays)
    kept = on_person(person_map, driven, rays)
    assert torch.equal(found.which, torch.nonzero(kept)[:, 0])
    assert torch.equal(found.surface, surface_distance(driven, rays)[kept])


def test_without_a_surface_all_rays_are_kept(tiny_clip, driven):
    nobody = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
    rays = rays_of_frame(tiny_clip, 0)
    other = DrivenField(SMALL, feature_dim=FEATURE_DIM, window=WINDOW)
    found = rays_on_person(nobody, other, rays)
    assert torch.equal(found.which, torch.arange(len(rays)))
    assert found.surface is None


def test_only_rays_of_the_person_are_marked(tiny_clip, driven):
    person_map = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
    rays = rays_of_frame(tiny_clip, 0)
    person = torch.zeros(len(rays), dtype=torch.bool)
    person[1000] = True
    mark_person(person_map, driven, rays, person=person)
    column, row = canonical_nodes(driven, rays)[1000].long().tolist()
    assert person_map.nonzero().tolist() == [[row, column]]


def test_up_is_a_higher_row_and_right_a_higher_column(tiny_clip, driven):
    cells = canonical_nodes(driven, rays_of_frame(tiny_clip, 0)).view(48, 48, 2)
    # World y points up and rows of the map count with y; pictures count rows downwards.
    assert (cells[:, 24, 1].diff() < 0).all()
    assert (cells[20, :, 0].diff() > 0).all()


def test_rays_beyond_the_grids_fall_on_the_rim(tiny_clip, driven):
    rays = rays_of_frame(tiny_clip, 0)
    away = rays.origin + 1e4
    cells = canonical_nodes(driven, type(rays)(
        origin=away, direction=rays.direction, torso_origin=away,
        torso_direction=rays.torso_direction, slot=rays.slot,
    ))  # fmt: skip
    assert cells.min() >= 0
    assert cells.max() <= MAP_NODES - 1


def test_widening_grows_a_cell_to_a_square():
    person_map = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
    person_map[0, 0] = person_map[100, 50] = True
    margin = MAP_MARGIN_NODES
    expected = torch.zeros_like(person_map)
    expected[: margin + 1, : margin + 1] = True
    expected[100 - margin : 101 + margin, 50 - margin : 51 + margin] = True
    assert torch.equal(widen_map(person_map), expected)
