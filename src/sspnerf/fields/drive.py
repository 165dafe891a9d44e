"""What drives a frame, as the fields read it."""

from typing import NamedTuple

from torch import Tensor


class Drive(NamedTuple):
    """What drives each of a batch's frames, and which of them each point is of."""

    condition: Tensor
    """Speech and upper face. Shape (frames, condition_dim)."""
    difference: Tensor
    """`pose_difference`: the head against the torso. Shape (frames, 6)."""
    pose: Tensor
    """`pose_vector`: the head against the camera. Shape (frames, 6)."""
    time: Tensor
    """When in the clip, [0, 1]. Shape (frames,)."""
    row: Tensor | None = None
    """Frame of each point; None: each point has a row of its own. Shape (points,)."""

    def of_points(self, slot: Tensor, samples: int) -> "Drive":
        """Say which frame drives each sample of each ray.

        Args:
            slot: Frame of each ray. Shape (rays,).
            samples: Samples of each ray.

        Returns:
            The same frames with `row`, ray by ray. Shape of row (rays * samples,).
        """
        return self._replace(row=slot[:, None].expand(-1, samples).reshape(-1))

    def per_point(self) -> "Drive":
        """Repeat what drives each point's frame, one row per point."""
        if self.row is None:
            return self
        parts = (self.condition, self.difference, self.pose, self.time)
        return Drive(*(part[self.row] for part in parts))
