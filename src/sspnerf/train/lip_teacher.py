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

from sspnerf.fields.conditioning import ATTENTION_CENTER, ATTENTION_FRAMES, SpeechEncoder

# MediaPipe blendshapes that speech moves: jaw and mouth.
MOUTH_BLENDSHAPES = tuple(range(23, 49))
# A blendshape that hardly moves says nothing; this keeps its noise small.
SCALE_MIN = 0.02
# Runs of neighbouring frames share their windows: 16 frames need 23 windows, not 128.
RUNS = 4
RUN_FRAMES = 16


class LipTeacher(nn.Module):
    """One linear layer from the speech part of the condition to the mouth's blendshapes."""

    target: Tensor

    def __init__(self, blendshapes: Float[Tensor, "frames 52"], *, speech_dim: int) -> None:
        """Remember what is to be told.

        Args:
            blendshapes: Of the training frames, [0, 1]. Shape (frames, 52).
            speech_dim: Width of the speech part of the condition.
        """
        super().__init__()
        mouth = blendshapes[:, list(MOUTH_BLENDSHAPES)]
        target = (mouth - mouth.mean(dim=0)) / mouth.std(dim=0).clamp(min=SCALE_MIN)
        self.register_buffer("target", target)
        self.linear = nn.Linear(speech_dim, len(MOUTH_BLENDSHAPES))

    def draw(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Choose runs of neighbouring training frames. Shape (runs, frames)."""
        frames = len(self.target)
        length = min(RUN_FRAMES, frames)
        starts = generator.integers(0, frames - length + 1, RUNS)
        return starts[:, None] + np.arange(length)

    def loss(
        self,
        encoder: SpeechEncoder,
        windows: Float[Tensor, "runs windows window feature_dim"],
        frame_index: NDArray[np.int64],
    ) -> Float[Tensor, ""]:
        """Compare what the encoder tells with what the mouth did; 1 is 'knows nothing'.

        Args:
            encoder: What is taught.
            windows: Speech windows from 4 frames before each run to 3 behind it.
                Shape (runs, frames + 7, window, feature_dim).
            frame_index: The runs' frames. Shape (runs, frames).
        """
        encoded = encoder.encode(windows.flatten(0, 1)).reshape(*windows.shape[:2], -1)
        neighbours = encoded.unfold(1, ATTENTION_FRAMES, 1).transpose(2, 3).flatten(0, 1)
        told = self.linear(encoder.attend(neighbours))
        truth = self.target[torch.from_numpy(frame_index.reshape(-1))]
        return torch.nn.functional.mse_loss(told, truth)


def run_with_neighbours(frame_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the frames whose windows a run needs. Shape (runs, frames + 7).

    Example:
        >>> run_with_neighbours(np.array([[4, 5]]))
        array([[0, 1, 2, 3, 4, 5, 6, 7, 8]])
    """
    length = frame_index.shape[1] + ATTENTION_FRAMES - 1
    return frame_index[:, :1] - ATTENTION_CENTER + np.arange(length)
