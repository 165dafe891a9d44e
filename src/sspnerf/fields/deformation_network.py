"""The paper's torso deformation: a perceptron that moves each point to its canonical position."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sspnerf.fields.encodings import encoded_width, frequency_encoding
from sspnerf.fields.perceptron_field import POSITION_SCALE, SkipPerceptron
from sspnerf.geometry.rotations import invert_rigid, vector_from_rotation
from sspnerf.ops.backend import field_dtype

POSE_DIM = 6
# Layer index after which the input is appended.
SKIP = 4
# A talking head turns by about 0.1 rad and moves by about 0.1 dm around its canonical pose: brought
# to about 1. As plain numbers its distance from the camera, 6 dm, hides that, more so in bfloat16.
POSE_GAIN = 10.0
# OpenCV's camera axes (right, down, forward) as OpenGL's (right, up, back), which are head space's
# own when the face looks at the camera.
CAMERA_FLIP = (1.0, -1.0, -1.0)


def pose_vector(poses: Float[Tensor, "frames 4 4"]) -> Float[Tensor, "frames 6"]:
    """Describe how the head stands before the camera: what the paper calls p(t).

    The camera's axes are turned to OpenGL's first: the rotation of a face that looks at the camera
    is then zero, far from pi, where rotation vectors jump.

    Args:
        poses: camera_to_world, OpenCV axes, cm. Shape (frames, 4, 4).

    Returns:
        Rotation vector of head to camera (radians), then the head's origin before the camera
        (right, up, back; dm). Shape (frames, 6).

    Example:
        >>> pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
        >>> pose[2, 3] = 80.0  # the camera stands 80 cm in front of the face
        >>> pose_vector(pose[None])[0, 3:] + 0.0  # turns -0 into 0
        tensor([ 0.,  0., -8.])

    Source: p_h(t) and p_c of Liu et al. 2022 (arXiv:2201.07786), whose form is not known.
        AD-NeRF (arXiv:2103.11078) writes Euler angles and a translation instead.
    """
    head_to_camera = invert_rigid(poses)
    flip = torch.tensor(CAMERA_FLIP, device=poses.device, dtype=poses.dtype)
    rotation = vector_from_rotation(flip[:, None] * head_to_camera[:, :3, :3])
    return torch.cat((rotation, POSITION_SCALE * flip * head_to_camera[:, :3, 3]), dim=-1)


class DeformationNetwork(nn.Module):
    """Position, time, head pose and canonical pose -> offset to the canonical position.

    Source: the torso deformation module of Liu et al. 2022 (arXiv:2201.07786): inputs and output
        as drawn there. Sizes and encodings are ours (the paper's are not known); 6 x 128 with a
        skip after index 4 follows the warp field of an open relative (SAHS). Ours too: the head's
        pose enters relative to the canonical one, and what the network says of the reference frame
        is subtracted. Otherwise the canonical space drifts, as the field can follow any offset.
    """

    canonical_pose: Tensor
    canonical_time: Tensor

    def __init__(
        self,
        *,
        hidden: int = 128,
        layers: int = 6,
        position_bands: int = 10,
        pose_bands: int = 3,
        time_bands: int = 2,
    ) -> None:
        """Build the network; its offset is zero at first."""
        super().__init__()
        self.position_bands, self.pose_bands = position_bands, pose_bands
        self.time_bands = time_bands
        inputs = (
            encoded_width(3, bands=position_bands)
            + encoded_width(1, bands=time_bands)
            + 2 * encoded_width(POSE_DIM, bands=pose_bands)
        )
        self.hidden_layers = SkipPerceptron(
            inputs, hidden=hidden, layers=layers, skip=min(SKIP, layers - 2)
        )
        # A bias would be subtracted again.
        self.out = nn.Linear(hidden, 3, bias=False)
        nn.init.zeros_(self.out.weight)
        self.register_buffer("canonical_pose", torch.zeros(POSE_DIM))
        self.register_buffer("canonical_time", torch.tensor(0.0))

    def forward(
        self,
        position: Float[Tensor, "points 3"],
        time: Float[Tensor, " points"],
        pose: Float[Tensor, "points 6"],
    ) -> Float[Tensor, "points 3"]:
        """Find how far points are from their canonical positions.

        Args:
            position: Observed positions, head space, cm. Shape (points, 3).
            time: When they are observed, from 0 (the clip's first frame) to 1 (its last).
                Shape (points,).
            pose: `pose_vector` of each point's frame. Shape (points, 6).

        Returns:
            Offsets to be added to the positions, cm, float32. Shape (points, 3).
        """
        still = torch.zeros_like(pose)
        moved = POSE_GAIN * (pose - self.canonical_pose)
        start = self.canonical_time.expand_as(time)
        return self._offset(position, time, moved) - self._offset(position, start, still)

    def _offset(self, position: Tensor, time: Tensor, moved: Tensor) -> Tensor:
        """Ask the network, cm."""
        canonical = self.canonical_pose.expand(len(position), POSE_DIM)
        inputs = torch.cat(
            (
                frequency_encoding(position * POSITION_SCALE, bands=self.position_bands),
                frequency_encoding(time[:, None], bands=self.time_bands),
                frequency_encoding(moved, bands=self.pose_bands),
                frequency_encoding(canonical, bands=self.pose_bands),
            ),
            dim=-1,
        )
        device = position.device
        number_type = field_dtype(device)
        with torch.autocast(device.type, number_type, enabled=number_type != torch.float32):
            found = self.hidden_layers(inputs.to(number_type))
        # In float32: bfloat16 would round an offset of a few cm by as much as the finest detail.
        offset: Tensor = self.out(found.float()) / POSITION_SCALE
        return offset
