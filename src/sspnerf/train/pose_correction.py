"""Small corrections of the training frames' poses, learned with the portrait.

Tracking errs by a pixel or so, steadily over many frames, not each frame for itself. So a
correction has knots every few frames and is linear in between: what one frame teaches its
neighbours believe too, and the noise of single steps averages out. (With a correction of its own
for each frame, neighbours were as different as any two frames.)
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

# Radians and cm.
PARAMETERS = 6


class PoseCorrection(nn.Module):
    """Corrections of one bone's poses, as rotation vectors and shifts.

    Attributes:
        knots: Rotation vector, radians, and shift, cm, at every knot. Shape (knots, 6).
    """

    before: Tensor
    share: Tensor

    def __init__(self, frames: int, *, every: int, cuts: Sequence[int] = ()) -> None:
        """Lay knots; at first nothing is corrected.

        Args:
            frames: Training frames, the clip's first.
            every: Frames from knot to knot.
            cuts: First frames after a cut; nothing is shared across them.
        """
        super().__init__()
        before, share, first = [], [], 0
        for begin, end in pairwise((0, *(cut for cut in cuts if cut < frames), frames)):
            place = np.arange(end - begin) / every
            before.append(first + place.astype(np.int64))
            share.append(place % 1)
            first += int(place[-1]) + 2
        self.knots = nn.Parameter(torch.zeros(first, PARAMETERS))
        self.register_buffer("before", torch.from_numpy(np.concatenate(before)), persistent=False)
        shares = torch.from_numpy(np.concatenate(share)).float()
        self.register_buffer("share", shares[:, None], persistent=False)

    def of_all(self) -> Float[Tensor, "frames 6"]:
        """Return all frames' corrections without their mean.

        The mean would move the whole portrait against the tracked poses, with which it is rendered.
        """
        found = torch.lerp(self.knots[self.before], self.knots[self.before + 1], self.share)
        return found - found.mean(dim=0)

    def forward(self, frame_index: NDArray[np.int64]) -> Float[Tensor, "frames 6"]:
        """Return the corrections of some training frames."""
        return self.of_all()[torch.from_numpy(frame_index)]
