"""The radiance field of the paper: one deep perceptron of position, speech and rough mesh."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.fields.encodings import encoded_width, frequency_encoding
from sspnerf.fields.portrait_field import FieldOutput
from sspnerf.ops.backend import field_dtype

# From cm to dm, which brings a head to about 1.
POSITION_SCALE = 0.1
# Softplus of this is 0.1 per dm: a ray of 4.5 dm starts out losing about a third of its light.
DENSITY_BIAS = -2.25
VIEW_LAYERS = 3
SEMANTIC_HIDDEN = 128


class SkipPerceptron(nn.Module):
    """Linear layers with ReLU; after one of them the input is appended to what they found.

    Source: Mildenhall et al. 2020 (arXiv:2003.08934), fig. 7.
    """

    def __init__(self, inputs: int, *, hidden: int, layers: int, skip: int) -> None:
        """Build `layers` layers; the one after index `skip`, if there is one, sees the input."""
        super().__init__()
        self.skip = skip
        widths = [inputs] + [hidden + inputs * (i == skip) for i in range(layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(width, hidden) for width in widths)

    def forward(self, x: Float[Tensor, "points inputs"]) -> Float[Tensor, "points hidden"]:
        """Return what the last layer found, after its ReLU."""
        found = x
        for i, layer in enumerate(self.layers):
            found = torch.relu(layer(found))
            if i == self.skip and i + 1 < len(self.layers):
                found = torch.cat((x, found), dim=-1)
        return found


class PerceptronField(nn.Module):
    """Position, view direction, condition, mesh features -> density, color, semantic logits.

    Density and logits are read off the trunk side by side; only the color sees the direction.

    Source: F(x, d, a, f) of Liu et al. 2022 (arXiv:2201.07786), whose layers are taken from
        FaceNeRF of Guo et al. 2021 (arXiv:2103.11078) and the semantic branch of Zhi et al. 2021
        (arXiv:2103.15875); how the paper joins them is inferred. Differs from AD-NeRF in: the
        feature layer before the color, which its code builds and bypasses, is used as in NeRF, so
        that all counted parameters learn; density is a softplus as in Barron et al. 2021
        (arXiv:2103.13415), since behind a ReLU all of it can die and only the background remains,
        which users of AD-NeRF's code report and we saw; positions are in dm, where its unit is
        about 1 m, so the ten bands reach finer detail.
    """

    def __init__(
        self,
        *,
        condition_dim: int,
        mesh_features: int = 0,
        classes: int | None = None,
        hidden: int = 256,
        layers: int = 8,
        position_bands: int = 10,
        direction_bands: int = 4,
    ) -> None:
        """Build the layers; the defaults are AD-NeRF's. Without classes there are no logits."""
        super().__init__()
        self.mesh_features = mesh_features
        self.position_bands, self.direction_bands = position_bands, direction_bands
        inputs = encoded_width(3, bands=position_bands) + condition_dim + mesh_features
        self.trunk = SkipPerceptron(inputs, hidden=hidden, layers=layers, skip=layers // 2)
        self.density_net = nn.Linear(hidden, 1)
        nn.init.constant_(self.density_net.bias, DENSITY_BIAS)
        self.feature_net = nn.Linear(hidden, hidden)
        viewed, half = hidden + encoded_width(3, bands=direction_bands), hidden // 2
        self.color_net = nn.Sequential(
            SkipPerceptron(viewed, hidden=half, layers=VIEW_LAYERS, skip=VIEW_LAYERS),
            nn.Linear(half, 3),
        )
        self.semantic_net: nn.Module | None = None
        if classes is not None:
            self.semantic_net = nn.Sequential(
                nn.Linear(hidden, SEMANTIC_HIDDEN), nn.ReLU(), nn.Linear(SEMANTIC_HIDDEN, classes)
            )

    def _inputs(
        self, position: Tensor, condition: Tensor, mesh_features: Tensor | None
    ) -> list[Tensor]:
        """Encode what the trunk sees."""
        given = 0 if mesh_features is None else mesh_features.shape[-1]
        if given != self.mesh_features:
            raise ValueError(f"{given} mesh features are given; expected {self.mesh_features}")
        encoded = frequency_encoding(position * POSITION_SCALE, bands=self.position_bands)
        return [encoded, condition] + ([] if mesh_features is None else [mesh_features])

    def forward(
        self,
        position: Float[Tensor, "points 3"],
        direction: Float[Tensor, "points 3"],
        condition: Float[Tensor, "points condition_dim"],
        mesh_features: Float[Tensor, "points mesh_features"] | None = None,
    ) -> FieldOutput:
        """Ask the field.

        Args:
            position: Canonical positions, cm. Shape (points, 3).
            direction: Where the light's ray goes, unit vectors. Shape (points, 3).
            condition: What drives each point. Shape (points, condition_dim).
            mesh_features: What `RoughMesh` says of each point, if the field was built for it.
                Shape (points, mesh_features).

        Returns:
            Density, color and semantic logits; these of shape (points, 0) without classes.

        Raises:
            ValueError: If there are more or fewer mesh features than the field was built for.
        """
        inputs = self._inputs(position, condition, mesh_features)
        view = frequency_encoding(direction, bands=self.direction_bands)
        device = position.device
        number_type = field_dtype(device)
        with torch.autocast(device.type, number_type, enabled=number_type != torch.float32):
            found = self.trunk(torch.cat([part.to(number_type) for part in inputs], dim=-1))
            raw_density = self.density_net(found)[:, 0]
            logits = found[:, :0] if self.semantic_net is None else self.semantic_net(found)
            feature = self.feature_net(found)
            color = self.color_net(torch.cat((feature, view.to(feature.dtype)), dim=-1))
        density = nn.functional.softplus(raw_density.float()) * POSITION_SCALE
        return FieldOutput(density, torch.sigmoid(color.float()), logits.float())
