"""What drives the field: speech and the upper face, as one condition vector per frame."""

import itertools

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from sspnerf.config import SpeechConfig
from sspnerf.media.speech import frame_times, speech_windows

# Frames whose speech is weighed for one frame: i - 4 .. i + 3 (AD-NeRF's choice).
ATTENTION_FRAMES = 8
ATTENTION_CENTER = 4
LEAK = 0.02
# AD-NeRF's window: 16 features at 50 Hz.
WINDOW_S = 0.32

# MediaPipe blendshapes that sound does not drive: brows (1-5), lids and gaze (9-22).
UPPER_FACE_BLENDSHAPES = (1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22)

# A blendshape that hardly moves says nothing; this keeps its noise small.
SCALE_MIN = 0.02


def window_length(rate_hz: float) -> int:
    """Return how many features one speech window holds, at least 1.

    Example:
        >>> window_length(50.0)
        16
    """
    return max(1, round(WINDOW_S * rate_hz))


def frame_windows(
    features: NDArray[np.float32],
    frame_index: NDArray[np.int64],
    *,
    rate_hz: float,
    frame_rate_hz: float,
) -> Float[Tensor, "*frames window feature_dim"]:
    """Cut the speech window of each frame out of a recording's features.

    It is centred on the middle of the frame's interval; beyond either end of the recording the
    first or last feature is repeated.

    Args:
        features: Speech features. Shape (feature_frames, feature_dim).
        frame_index: Frames; may lie before the first and behind the last. Shape (*frames).
        rate_hz: Features per second.
        frame_rate_hz: Frames per second.

    Returns:
        Windows. Shape (*frames, window, feature_dim), float32.
    """
    windows = speech_windows(
        features,
        rate_hz=rate_hz,
        frame_times_s=frame_times(frame_index.reshape(-1), frame_rate_hz),
        window=window_length(rate_hz),
    )
    return torch.from_numpy(windows.reshape(*frame_index.shape, *windows.shape[1:]))


def neighbour_frames(frame_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the frames i - 4 .. i + 3 whose windows `SpeechEncoder` weighs for each frame.

    Example:
        >>> neighbour_frames(np.array([9]))
        array([[ 5,  6,  7,  8,  9, 10, 11, 12]])
    """
    return frame_index[:, None] + np.arange(ATTENTION_FRAMES) - ATTENTION_CENTER


class SmallConvolution(nn.Conv1d):
    """A one-dimensional convolution of size 3 as one matrix product.

    On CPUs the library's convolution spends 10 to 100 times as long on inputs as small as the
    attention's (8 features of at most 20 channels).
    """

    def forward(
        self, x: Float[Tensor, "batch inputs length"]
    ) -> Float[Tensor, "batch outputs length"]:
        """Convolve with one zero of padding at either end, stride 1."""
        neighbours = nn.functional.pad(x, (1, 1)).unfold(2, 3, 1).transpose(1, 2).flatten(2)
        product = neighbours @ self.weight.flatten(1).T
        return (product if self.bias is None else product + self.bias).transpose(1, 2)


class SpeechEncoder(nn.Module):
    """Speech windows around one frame -> the speech part of its condition.

    Each window passes four strided convolutions and two linear layers; a small attention network
    then weighs the frame's neighbours, which steadies the lips.

    Source: AudioNet and AudioAttNet of Guo et al. 2021 (arXiv:2103.11078): with windows of (16, 29)
    DeepSpeech features and the `adnerf` preset's settings the same networks. Differs in: windows of
    any length and width, features are normalised, and the attention starts out centred on the frame
    instead of flat.

    Attributes:
        weighs_neighbours: Whether the attention is switched on; without, each frame is heard alone.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    weighs_neighbours: Tensor

    def __init__(
        self, feature_dim: int, window: int, *, speech_dim: int, config: SpeechConfig
    ) -> None:
        """Build the networks for windows of shape (window, feature_dim)."""
        super().__init__()
        layers: list[nn.Module] = []
        width, length = feature_dim, window
        for channels in config.channels:
            layers += [nn.Conv1d(width, channels, 3, stride=2, padding=1), nn.LeakyReLU(LEAK)]
            width, length = channels, (length + 1) // 2
        layers += [nn.Flatten(), nn.Linear(width * length, width), nn.LeakyReLU(LEAK)]
        self.window_net = nn.Sequential(*layers, nn.Linear(width, speech_dim))
        self.attention_inputs = min(speech_dim, config.attention_inputs or speech_dim)
        widths = (self.attention_inputs, 16, 8, 4, 2, 1)
        attention: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            attention += [SmallConvolution(before, after, 3), nn.LeakyReLU(LEAK)]
        self.attention_net = nn.Sequential(*attention, nn.Flatten())
        self.attention_out = nn.Linear(ATTENTION_FRAMES, ATTENTION_FRAMES)
        offset = torch.arange(ATTENTION_FRAMES) - ATTENTION_CENTER
        with torch.no_grad():
            self.attention_out.bias.copy_(-0.5 * offset.float().square())
        self.register_buffer("feature_mean", torch.zeros(feature_dim))
        self.register_buffer("feature_scale", torch.ones(feature_dim))
        self.register_buffer("weighs_neighbours", torch.tensor(config.attention_from == 0))

    def set_statistics(self, features: Float[Tensor, "feature_frames feature_dim"]) -> None:
        """Remember the training speech's mean and spread, by which all speech is normalised."""
        self.feature_mean.copy_(features.mean(dim=0))
        self.feature_scale.copy_(features.std(dim=0, correction=0).clamp(min=1e-3))

    def encode(
        self, windows: Float[Tensor, "windows window feature_dim"]
    ) -> Float[Tensor, "windows speech_dim"]:
        """Encode windows one by one, without their neighbours."""
        normal = (windows - self.feature_mean) / self.feature_scale
        encoded: Tensor = self.window_net(normal.transpose(1, 2))
        return encoded

    def attend(
        self, encoded: Float[Tensor, "frames neighbours speech_dim"]
    ) -> Float[Tensor, "frames speech_dim"]:
        """Weigh the encoded windows of frames i - 4 .. i + 3, or take frame i's alone."""
        if not self.weighs_neighbours:
            return encoded[:, ATTENTION_CENTER]
        looked_at = encoded[..., : self.attention_inputs].transpose(1, 2)
        scores = self.attention_out(self.attention_net(looked_at))
        return (torch.softmax(scores, dim=-1)[..., None] * encoded).sum(dim=1)

    def forward(
        self, windows: Float[Tensor, "frames neighbours window feature_dim"]
    ) -> Float[Tensor, "frames speech_dim"]:
        """Encode the windows of each frame and of its neighbours.

        Args:
            windows: Speech windows of frames i - 4 .. i + 3.
                Shape (frames, 8, window, feature_dim).

        Returns:
            The speech part of the condition. Shape (frames, speech_dim).
        """
        return self.attend(self.encode(windows.flatten(0, 1)).reshape(*windows.shape[:2], -1))


class UpperFaceEncoder(nn.Module):
    """Blinks, brows and gaze -> the part of the condition that sound does not drive."""

    neutral: Tensor
    scale: Tensor

    def __init__(self, *, upper_face_dim: int) -> None:
        """Build one linear layer; blendshapes are already close to what it must say."""
        super().__init__()
        self.linear = nn.Linear(len(UPPER_FACE_BLENDSHAPES), upper_face_dim)
        self.register_buffer("neutral", torch.zeros(len(UPPER_FACE_BLENDSHAPES)))
        self.register_buffer("scale", torch.ones(len(UPPER_FACE_BLENDSHAPES)))

    def set_statistics(self, blendshapes: Float[Tensor, "frames 52"]) -> None:
        """Remember the person's usual upper face and how much it moves, by which it is normalised.

        Lids and brows move by a tenth of what a blendshape allows: as they come they are so small
        beside the speech that blinks were not learned in 2500 steps.
        """
        upper = blendshapes[:, list(UPPER_FACE_BLENDSHAPES)]
        self.neutral.copy_(upper.median(dim=0).values)
        self.scale.copy_(upper.std(dim=0, correction=0).clamp(min=SCALE_MIN))

    def forward(
        self, blendshapes: Float[Tensor, "frames 52"]
    ) -> Float[Tensor, "frames upper_face_dim"]:
        """Encode blendshape weights in [0, 1], MediaPipe's order.

        Args:
            blendshapes: All of them; only the upper face's are read. Shape (frames, 52).

        Returns:
            The upper-face part of the condition. Shape (frames, upper_face_dim).
        """
        upper = (blendshapes[:, list(UPPER_FACE_BLENDSHAPES)] - self.neutral) / self.scale
        encoded: Tensor = self.linear(upper)
        return encoded
