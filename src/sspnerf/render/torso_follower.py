"""How one person's torso follows the head: torso poses for head poses that were never filmed.

A small ridge regression. Motions are described against a reference pose, the mean head pose of the
frames that it is fitted to, by a rotation vector (radians) and the shift (cm) of head space's
origin, in the axes of that pose. Its inputs are the head's motion now, and how far it has come
since some moments of the last second; history counts in seconds, so a follower fitted at one frame
rate holds at any other.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sspnerf.geometry.rotations import invert_rigid, rigid_transform, vector_from_rotation

# Moments that the motion is compared with, seconds ago.
LAGS_S = (0.2, 0.5, 1.0)
INPUTS = 6 * (1 + len(LAGS_S))
# What is learned from the history is held back this much more than what is learned from the pose
# of the moment: on five real clips, cut six ways, history treated alike made it worse, not better.
HISTORY_PENALTY = 10.0
# Candidates, for inputs of size 1; with the last the torso all but stands still.
RIDGE_STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
# The strength is chosen by leaving out one of so many blocks of time: neighbouring frames are too
# alike to judge each other.
BLOCKS = 3
# A point of the chest at rest, cm, whose displacement says how good a torso pose is.
CHEST_CM = (0.0, -20.0, -8.0)
# Motion smaller than tracking resolves is not blown up to size 1, radians and cm.
LEAST_MOTION = 1e-3


@dataclass(frozen=True, kw_only=True)
class TorsoFollower:
    """Predicts torso poses from head poses."""

    reference: Float[Tensor, "4 4"]
    """camera_to_world that motions are described against."""
    weight: Float[Tensor, "inputs 6"]
    """Torso motion per unit of each input: the head's motion, then its change since each lag."""
    offset: Float[Tensor, "6"]
    """Torso motion when the head rests in the reference pose, radians and cm."""

    @classmethod
    def fit(
        cls,
        poses: Float[Tensor, "frames 4 4"],
        torso_poses: Float[Tensor, "frames 4 4"],
        *,
        valid: Bool[Tensor, " frames"],
        frame_rate_hz: float,
        cuts: Sequence[int] = (),
    ) -> "TorsoFollower":
        """Learn from tracked frames how a torso follows its head.

        Args:
            poses: camera_to_world. Shape (frames, 4, 4).
            torso_poses: camera_to_world with the torso held still. Shape (frames, 4, 4).
            valid: Which frames to learn from. Shape (frames,).
            frame_rate_hz: Frames per second.
            cuts: First frames after a cut: history begins anew there.

        Raises:
            ValueError: If no frame is valid.
        """
        if not valid.any():
            raise ValueError("no frame is valid; expected one at least")
        poses, torso_poses = poses.double(), torso_poses.double()
        reference = _mean_pose(poses[valid])
        head = _motion(reference, poses)
        inputs = _with_history(head, frame_rate_hz=frame_rate_hz, cuts=cuts)[valid]
        torso = _motion(reference, torso_poses[valid])
        size = head[valid].std(dim=0, correction=0).clamp(min=LEAST_MOTION)
        scaled = inputs / size.repeat(1 + len(LAGS_S))
        weight = _ridge(scaled, torso, _choose_strength(scaled, torso))
        weight = weight / size.repeat(1 + len(LAGS_S))[:, None]
        offset = torso.mean(dim=0) - inputs.mean(dim=0) @ weight
        return cls(reference=reference.float(), weight=weight.float(), offset=offset.float())

    def predict(
        self, poses: Float[Tensor, "frames 4 4"], *, frame_rate_hz: float
    ) -> Float[Tensor, "frames 4 4"]:
        """Predict how the torso stands while the head moves.

        Before the first frame the head is taken to have been where it is then.

        Args:
            poses: camera_to_world of frames that follow each other. Shape (frames, 4, 4).
            frame_rate_hz: Frames per second.

        Returns:
            camera_to_world with the torso held still, float32. Shape (frames, 4, 4).
        """
        reference = self.reference.double()
        head = _motion(reference, poses.double())
        inputs = _with_history(head, frame_rate_hz=frame_rate_hz)
        torso = inputs @ self.weight.double() + self.offset.double()
        return (invert_rigid(rigid_transform(torso)) @ reference).float()

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name; `TorsoFollower(**tensors)` puts them together again."""
        return asdict(self)


def _mean_pose(poses: Float[Tensor, "frames 4 4"]) -> Float[Tensor, "4 4"]:
    """Average rigid transforms: the rotation nearest to the mean matrix, the mean shift."""
    mean = poses.mean(dim=0)
    u, _, vt = torch.linalg.svd(mean[:3, :3])
    # Heads turn far less than half a turn: the nearest orthogonal matrix is no reflection.
    mean[:3, :3] = u @ vt
    return mean


def _motion(
    reference: Float[Tensor, "4 4"], poses: Float[Tensor, "frames 4 4"]
) -> Float[Tensor, "frames 6"]:
    """Describe where what rests in the reference pose has gone: rotation vector and shift."""
    moved = reference @ invert_rigid(poses)
    return torch.cat((vector_from_rotation(moved[:, :3, :3]), moved[:, :3, 3]), dim=-1)


def _with_history(
    motion: Float[Tensor, "frames 6"], *, frame_rate_hz: float, cuts: Sequence[int] = ()
) -> Float[Tensor, "frames inputs"]:
    """Put the motion and its change since each lag side by side, between frames linearly.

    Before the first frame, and before a cut, the head has been where it is in the next one.
    """
    frame = torch.arange(len(motion), dtype=motion.dtype)
    starts = torch.tensor([0, *cuts], dtype=motion.dtype)
    first = starts[torch.searchsorted(starts, frame, right=True) - 1]
    inputs = [motion]
    for lag_s in LAGS_S:
        moment = torch.maximum(frame - lag_s * frame_rate_hz, first)
        before = moment.floor().long()
        after = (before + 1).clamp(max=len(motion) - 1)
        then = torch.lerp(motion[before], motion[after], (moment - before)[:, None])
        inputs.append(motion - then)
    return torch.cat(inputs, dim=-1)


def _ridge(
    inputs: Float[Tensor, "frames inputs"], torso: Float[Tensor, "frames 6"], strength: float
) -> Float[Tensor, "inputs 6"]:
    """Regress, with the means taken out."""
    centred, wanted = inputs - inputs.mean(dim=0), torso - torso.mean(dim=0)
    penalty = torch.full((INPUTS,), strength * HISTORY_PENALTY, dtype=inputs.dtype)
    penalty[:6] = strength
    frames = len(inputs)
    weight: Tensor = torch.linalg.solve(
        centred.T @ centred / frames + torch.diag(penalty), centred.T @ wanted / frames
    )
    return weight


def _choose_strength(
    inputs: Float[Tensor, "frames inputs"], torso: Float[Tensor, "frames 6"]
) -> float:
    """Find the ridge strength that best predicts the chest in blocks of time left out."""
    if len(inputs) < 2 * BLOCKS:
        return RIDGE_STRENGTHS[-1]
    block = torch.arange(len(inputs)) * BLOCKS // len(inputs)
    errors = []
    for strength in RIDGE_STRENGTHS:
        missed = []
        for left_out in range(BLOCKS):
            kept = block != left_out
            weight = _ridge(inputs[kept], torso[kept], strength)
            predicted = (inputs[~kept] - inputs[kept].mean(dim=0)) @ weight
            missed.append(_chest_shift(torso[~kept] - torso[kept].mean(dim=0) - predicted))
        errors.append(float(torch.cat(missed).square().sum()))
    return RIDGE_STRENGTHS[min(range(len(errors)), key=errors.__getitem__)]


def _chest_shift(motion: Float[Tensor, "frames 6"]) -> Float[Tensor, "frames 3"]:
    """Say how far small motions move the chest, cm."""
    lever = torch.tensor(CHEST_CM, dtype=motion.dtype).expand(len(motion), 3)
    shift: Tensor = motion[:, 3:] + torch.linalg.cross(motion[:, :3], lever)
    return shift
