"""Where on the rest surface which class is usually seen: the rough mesh knows its regions."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.data.dataset import ClipDataset
from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.fields.portrait_field import REGION_NODES
from sspnerf.geometry.cameras import pixel_centers
from sspnerf.geometry.rays import cast_rays
from sspnerf.render.person_map import MAP_NODES, canonical_nodes
from sspnerf.train.snapshot import Tracked

# Enough to know every region, in well under a second.
FRAMES = 100
PIXELS_PER_FRAME = 8192
# Lips and lids move: regions fade into each other over so many nodes.
SMOOTHING_NODES = 1


@torch.no_grad()
def collect_regions(
    driven: DrivenPlanes, dataset: ClipDataset, tracked: Tracked, *, generator: np.random.Generator
) -> Float[Tensor, "classes nodes nodes"]:
    """Count the classes that training frames show at each place of the rest surface.

    Args:
        driven: Placed, untrained networks.
        dataset: The clip; only its training frames are looked at.
        tracked: The person in each frame.
        generator: Source of randomness: which pixels.

    Returns:
        Share of each class at (y, x) of canonical space, in [0, 1]; where nothing was seen, what
        was seen nearby, fading to zero. Shape (classes, 128, 128).
    """
    clip = dataset.clip
    manifest = clip.manifest
    pixels = pixel_centers(manifest.width, manifest.height)
    count = torch.zeros(SEMANTIC_CLASSES, REGION_NODES * REGION_NODES)
    for index in dataset.usable[:: max(1, len(dataset.usable) // FRAMES)]:
        few = min(len(pixels), PIXELS_PER_FRAME)
        chosen = torch.from_numpy(generator.choice(len(pixels), few, replace=False))
        rays = cast_rays(
            manifest.intrinsics,
            pixels[chosen],
            poses=tracked.poses[index, None],
            torso_poses=tracked.torso_poses[index, None],
            slot=torch.zeros(few, dtype=torch.long),
        )
        node = (canonical_nodes(driven, rays) * (REGION_NODES / MAP_NODES)).long()
        place = node[:, 1] * REGION_NODES + node[:, 0]
        label = torch.from_numpy(np.array(clip.labels[index]).reshape(-1))[chosen].long()
        count.view(-1).index_add_(0, label * REGION_NODES**2 + place, torch.ones(few))
    width = 2 * SMOOTHING_NODES + 1
    spread = torch.nn.functional.avg_pool2d(
        count.view(1, SEMANTIC_CLASSES, REGION_NODES, REGION_NODES),
        width,
        stride=1,
        padding=SMOOTHING_NODES,
    )[0]
    return spread / spread.sum(dim=0).clamp(min=1.0 / width**2)
