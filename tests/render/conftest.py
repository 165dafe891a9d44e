"""An untrained portrait of the tiny clip: every part is there, nothing is learned."""

import numpy as np
import pytest
import torch

from small_fields import FEATURE_DIM, SMALL, untrained
from sspnerf.config import to_toml
from sspnerf.fields.torso import Canonical
from sspnerf.geometry.rest_surface import rest_surface
from sspnerf.render.person_map import MAP_NODES
from sspnerf.render.portrait import Portrait
from sspnerf.render.portrait_info import PortraitInfo
from sspnerf.render.torso_follower import TorsoFollower


@pytest.fixture(scope="session")
def surface(tiny_clip):
    """The tiny speaker's rest surface."""
    return torch.from_numpy(rest_surface(tiny_clip.mesh, extent=SMALL.field.extent))


@pytest.fixture
def portrait(tiny_clip, surface) -> Portrait:
    driven, told = untrained(scale=50), tiny_clip.manifest
    vertices = torch.from_numpy(tiny_clip.mesh.vertices)
    driven.field.surface.copy_(surface)
    driven.place(vertices, Canonical(torch.from_numpy(tiny_clip.poses[0].copy()), 0.0))
    middle = slice(MAP_NODES // 4, 3 * MAP_NODES // 4)
    person_map = torch.zeros(MAP_NODES, MAP_NODES, dtype=torch.bool)
    person_map[middle, middle] = True
    info = PortraitInfo(
        source="Zoë",
        licence=told.licence,
        frame_rate_hz=told.frame_rate_hz,
        width=told.width,
        height=told.height,
        camera=told.camera,
        speech_feature="logmel",
        speech_rate_hz=100.0,
        feature_dim=FEATURE_DIM,
        speech_level_db=-20.0,
        mesh_vertices=len(tiny_clip.mesh.vertices),
        band_scale=0.5,
        training_frames=10,
        config=to_toml(SMALL),
    )
    arrays = {
        "background": torch.from_numpy(np.array(tiny_clip.background)),
        "poses": torch.from_numpy(np.array(tiny_clip.poses)),
        "torso_poses": torch.from_numpy(np.array(tiny_clip.torso_poses)),
        "blendshapes": torch.from_numpy(np.array(tiny_clip.blendshapes)),
        "person_map": person_map,
    }
    follower = TorsoFollower.fit(
        arrays["poses"],
        arrays["torso_poses"],
        valid=torch.ones(told.frames, dtype=torch.bool),
        frame_rate_hz=told.frame_rate_hz,
    )
    arrays |= {f"torso_follower.{name}": part for name, part in follower.tensors().items()}
    return Portrait(info, driven, arrays)
