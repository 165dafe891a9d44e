"""What drives a frame, as the fields read it."""

from typing import NamedTuple

from torch import Tensor


class Drive(NamedTuple):
    """What drives each of a batch's frames."""

    condition: Tensor
    """Speech and upper face. Shape (frames, condition_dim)."""
    difference: Tensor
    """`pose_difference`: the head against the torso. Shape (frames, 6)."""
    pose: Tensor
    """`pose_vector`: the head against the camera. Shape (frames, 6)."""
    time: Tensor
    """When in the clip, [0, 1]. Shape (frames,)."""

    def per_sample(self, slot: Tensor, samples: int) -> "Drive":
        """Repeat the row that drives each ray for each of its samples.

        Args:
            slot: Row of each ray. Shape (rays,).
            samples: Samples of each ray.

        Returns:
            The same with one row per point, ray by ray. Shape (rays * samples, ...).
        """
        row = slot[:, None].expand(-1, samples).reshape(-1)
        return Drive(*(part[row] for part in self))
