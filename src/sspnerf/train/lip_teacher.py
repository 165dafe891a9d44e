"""A teacher for the speech encoder: the mouth's blendshapes, which tracking already knows.

Pictures alone teach the encoder slowly: eight frames a step, and only where rays fall on the mouth.
The teacher asks it, for many more frames at once and without rendering, to tell the mouth's shape;
what it learns this way is what the field needs to hear. Only used while training.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from sspnerf.fields.conditioning import SCALE_MIN

# MediaPipe blendshapes that speech moves: jaw and mouth.
MOUTH_BLENDSHAPES = tuple(range(23, 50))
# Frames are drawn in runs of neighbours, which share speech windows: 16 frames need 23, not 128.
RUNS = 4
RUN_FRAMES = 16


class LipTeacher(nn.Module):
    """One linear layer from the speech part of the condition to the mouth's blendshapes."""

    target: Tensor

    def __init__(
        self,
        blendshapes: Float[Tensor, "frames 52"],
        usable: NDArray[np.int64],
        *,
        speech_dim: int,
    ) -> None:
        """Remember what is to be told.

        Args:
            blendshapes: Of all frames, [0, 1]. Shape (frames, 52).
            usable: Training frames that show a tracked face, sorted; no other is asked about.
            speech_dim: Width of the speech part of the condition.
        """
        super().__init__()
        mouth = blendshapes[:, list(MOUTH_BLENDSHAPES)]
        known = mouth[torch.from_numpy(usable)]
        scale = known.std(dim=0, correction=0).clamp(min=SCALE_MIN)
        self.usable = usable
        self.register_buffer("target", (mouth - known.mean(dim=0)) / scale)
        self.linear = nn.Linear(speech_dim, len(MOUTH_BLENDSHAPES))

    def draw(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Choose runs of neighbouring training frames, sorted, each once. Shape (frames,).

        Runs may begin before the first frame, so that every frame is as likely as any other.
        """
        first, last = self.usable[0], self.usable[-1]
        starts = generator.integers(first - RUN_FRAMES + 1, last + 1, RUNS)
        drawn = np.intersect1d(starts[:, None] + np.arange(RUN_FRAMES), self.usable)
        return drawn if len(drawn) else self.usable[:RUN_FRAMES]

    def loss(
        self, speech: Float[Tensor, "frames speech_dim"], frame_index: NDArray[np.int64]
    ) -> Float[Tensor, ""]:
        """Compare what the encoder tells with what the mouth did; 1 is 'knows nothing'.

        Args:
            speech: The speech part of the condition. Shape (frames, speech_dim).
            frame_index: Training frames that it is of. Shape (frames,).
        """
        truth = self.target[torch.from_numpy(frame_index)]
        return torch.nn.functional.mse_loss(self.linear(speech), truth)
