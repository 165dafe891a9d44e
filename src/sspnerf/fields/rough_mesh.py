"""The rough mesh: what is learned of the resting head's surface, as features around it.

Shared convention: a volume covers a cube of head space with `nodes` nodes along each side, the
first and the last on its faces. Its axes are (features, z, y, x), as `grid_sample` wants them.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import grid_sample, max_pool3d

# Convolutions of size 3; each carries a code one node further.
LAYERS = 3
# Nodes between the mesh and the cube's faces. One more than the codes reach: the outermost nodes
# are zero, so that the features fade out towards the faces instead of ending there.
MARGIN_NODES = LAYERS + 1


class RoughMesh(nn.Module):
    """Learned codes on the vertices of the resting head, spread into the space around it.

    Each code goes to the node next to its vertex (the mean, where there are several); convolutions
    carry them up to `LAYERS` nodes further. As in a sparse convolution, a node is written only if
    it has a written neighbour: the rest is masked after each layer, since biases would fill it.

    Source: the latent code f of Liu et al. 2022 (arXiv:2201.07786), drawn as "Rough Mesh" in its
        overview; inferred to be the structured latent codes of Peng et al. 2021
        (arXiv:2012.15838, Neural Body) on the mesh with zero expression. Differs from those in:
        three dense, masked convolutions of one resolution and no batch norm instead of a sparse
        network of five; all sizes are ours (the paper's are not known).
    """

    vertex_positions: Tensor
    center: Tensor
    half_side: Tensor

    def __init__(
        self, vertices: int, *, code_dim: int = 16, features: int = 32, nodes: int = 32
    ) -> None:
        """Build codes and convolutions for a number of vertices; `place` says where they are."""
        super().__init__()
        if nodes < 2 * MARGIN_NODES + 2:
            raise ValueError(f"nodes is {nodes}; expected at least {2 * MARGIN_NODES + 2}")
        self.nodes = nodes
        self.codes = nn.Parameter(torch.randn(vertices, code_dim))
        widths = [code_dim] + [features] * LAYERS
        convolutions = [
            nn.Conv3d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        ]
        for convolution in convolutions:
            # torch's default shrinks at each layer; f would start out unheard beside x.
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        self.convolutions = nn.ModuleList(convolutions)
        self.register_buffer("vertex_positions", torch.zeros(vertices, 3))
        self.register_buffer("center", torch.zeros(3))
        self.register_buffer("half_side", torch.tensor(1.0))

    @torch.no_grad()
    def place(self, vertices: Float[Tensor, "vertices 3"]) -> None:
        """Say where the vertices are, and fit the cube around them.

        Args:
            vertices: The mesh with zero expression, head space, cm. Shape (vertices, 3).

        Raises:
            ValueError: If there are more or fewer vertices than codes.
        """
        if vertices.shape != self.vertex_positions.shape:
            raise ValueError(
                f"vertices have shape {tuple(vertices.shape)}; "
                f"expected {tuple(self.vertex_positions.shape)}"
            )
        low, high = vertices.amin(dim=0), vertices.amax(dim=0)
        self.vertex_positions.copy_(vertices)
        self.center.copy_((low + high) / 2)
        steps = self.nodes - 1
        self.half_side.copy_((high - low).max() / 2 * steps / (steps - 2 * MARGIN_NODES))

    def _scatter(self) -> tuple[Tensor, Tensor]:
        """Put the codes into their nodes: means (1, code_dim, z, y, x), and where there are any."""
        scaled = (self.vertex_positions - self.center) / self.half_side
        x, y, z = ((scaled + 1) / 2 * (self.nodes - 1)).round().long().unbind(dim=-1)
        node = (z * self.nodes + y) * self.nodes + x
        size = (self.nodes,) * 3
        total = self.codes.new_zeros(self.nodes**3, self.codes.shape[1])
        total = total.index_add(0, node, self.codes)
        count = node.bincount(minlength=self.nodes**3).to(total.dtype)
        mean = total / count.clamp(min=1)[:, None]
        written = (count > 0).to(total.dtype).reshape(1, 1, *size)
        return mean.T.reshape(1, -1, *size), written

    def volume(self) -> Float[Tensor, "features nodes nodes nodes"]:
        """Spread the codes into the cube; once per step, for all points.

        Differentiable in the codes and the convolutions.

        Returns:
            Features at the nodes, axes (features, z, y, x); exactly zero further than `LAYERS`
            nodes from every vertex's node. Shape (features, nodes, nodes, nodes).
        """
        volume, written = self._scatter()
        for i, convolution in enumerate(self.convolutions):
            written = max_pool3d(written, 3, stride=1, padding=1)
            volume = convolution(volume if i == 0 else torch.relu(volume)) * written
        return volume[0]

    def forward(
        self,
        position: Float[Tensor, "points 3"],
        volume: Float[Tensor, "features nodes nodes nodes"],
    ) -> Float[Tensor, "points features"]:
        """Look up the features at points, linearly between the nodes.

        Differentiable in both arguments.

        Args:
            position: Canonical positions, head space, cm. Shape (points, 3).
            volume: What `volume` returned. Shape (features, nodes, nodes, nodes).

        Returns:
            Features, exactly zero outside the cube. Shape (points, features).
        """
        scaled = (position - self.center) / self.half_side
        found = grid_sample(
            volume[None], scaled[None, None, None], padding_mode="zeros", align_corners=True
        )
        # Zero padding alone fades over one more node beyond the faces.
        inside = (scaled.abs() <= 1).all(dim=-1)
        return found[0, :, 0, 0].T * inside[:, None]
