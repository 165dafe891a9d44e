"""Where on the rest surface which class is usually seen: the rough mesh knows its regions."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sspnerf.data.dataset import ClipDataset
from sspnerf.data.semantics import SEMANTIC_CLASSES
from sspnerf.fields.driven_planes import DrivenPlanes
from sspnerf.fields.portrait_field import REGION_NODES
from sspnerf.geometry.rays import cast_rays
from sspnerf.render.person_map import MAP_NODES, canonical_nodes
from sspnerf.train.lattice import lattices
from sspnerf.train.snapshot import Tracked

# Enough to know every region, in a part of a second.
FRAMES = 100
POINTS_PER_SIDE = 85
# Lips and lids move: regions fade into each other over so many nodes.
SMOOTHING_NODES = 1


@torch.no_grad()
def collect_regions(
    driven: DrivenPlanes, dataset: ClipDataset, tracked: Tracked, *, generator: np.random.Generator
) -> Float[Tensor, "nodes nodes classes"]:
    """Count the classes that training frames show at each place of the rest surface.

    Args:
        driven: Placed, untrained networks.
        dataset: The clip; only its training frames are looked at.
        tracked: The person in each frame.
        generator: Source of randomness: which pixels.

    Returns:
        Share of each class at (y, x) of canonical space, in [0, 1]; where nothing was seen, what
        was seen nearby, fading to zero. Shape (128, 128, classes).
    """
    clip = dataset.clip
    count = torch.zeros(SEMANTIC_CLASSES, REGION_NODES * REGION_NODES)
    for lattice in lattices(dataset, frames=FRAMES, points=POINTS_PER_SIDE, generator=generator):
        points = len(lattice.pixels)
        rays = cast_rays(
            clip.manifest.intrinsics,
            lattice.pixels,
            poses=tracked.poses[lattice.frame, None],
            torso_poses=tracked.torso_poses[lattice.frame, None],
            slot=torch.zeros(points, dtype=torch.long),
        )
        node = (canonical_nodes(driven, rays) * (REGION_NODES / MAP_NODES)).long()
        place = node[:, 1] * REGION_NODES + node[:, 0]
        shown = np.array(clip.labels[lattice.frame][lattice.rows, lattice.columns])
        label = torch.from_numpy(shown.reshape(-1)).long()
        count.view(-1).index_add_(0, label * REGION_NODES**2 + place, torch.ones(points))
    width = 2 * SMOOTHING_NODES + 1
    spread = torch.nn.functional.avg_pool2d(
        count.view(1, SEMANTIC_CLASSES, REGION_NODES, REGION_NODES),
        width,
        stride=1,
        padding=SMOOTHING_NODES,
    )[0]
    share = spread / spread.sum(dim=0).clamp(min=1.0 / width**2)
    return share.permute(1, 2, 0)
