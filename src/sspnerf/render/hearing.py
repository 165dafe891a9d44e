"""A recording -> what a portrait hears around each frame, one by one, in bounded memory.

Sound becomes features piece by piece, features become windows block by block, and each window is
encoded once; nothing waits for the end of the recording.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sspnerf.config.clips import COMPUTED_FEATURES
from sspnerf.data.feature_file import read_feature_file
from sspnerf.data.speech_features import FeatureSource, OpenStream, check_same_features, open_stream
from sspnerf.errors import UsageError
from sspnerf.fields.conditioning import (
    ATTENTION_CENTER,
    ATTENTION_FRAMES,
    SpeechEncoder,
    window_length,
)
from sspnerf.media.speech import (
    SPEECH_SAMPLE_RATE_HZ,
    frame_times,
    match_level,
    speech_windows,
)
from sspnerf.render.portrait import Portrait
from sspnerf.render.portrait_info import PortraitInfo

# Sound that is turned into features at once: the first picture waits for two seconds of it.
PIECE_SAMPLES = 2 * SPEECH_SAMPLE_RATE_HZ
# Frames whose windows are encoded at once.
BLOCK_FRAMES = 16
_BEHIND = ATTENTION_FRAMES - 1 - ATTENTION_CENTER


class Hearing:
    """What a portrait hears in a recording; iterate over it, as often as you like."""

    def __init__(
        self,
        portrait: Portrait,
        waveform: NDArray[np.float32],
        *,
        frames: int,
        feature_file: Path | None = None,
    ) -> None:
        """Bring the recording to the portrait's level; nothing is heard yet.

        Args:
            portrait: Who listens.
            waveform: The recording, mono at 16 kHz in [-1, 1]. Shape (samples,).
            frames: Frames of the film to be.
            feature_file: The recording's features, if they are of a kind that the user brings.

        Raises:
            UsageError: If a file is missing, given in vain, or does not fit.
            PortraitError: If the network is not the one of the training.
            SspnerfError: If the network cannot be had.
        """
        self.portrait, self.frames = portrait, frames
        info = portrait.info
        self._source = FeatureSource(info.speech_feature, info.speech_model, info.speech_layer)
        self._brought = _read_brought(info, feature_file, samples=len(waveform))
        # Opened here, so that what cannot be heard is refused at once; serves one iteration.
        self._opened: OpenStream | None = None
        if self._brought is None:
            self._opened = open_stream(self._source)
            check_same_features(info.speech_feature, self._opened.told, info.heard)
            self._matched = match_level(waveform, info.speech_level_db)

    def __iter__(self) -> Iterator[Float[Tensor, " speech_dim"]]:
        """Give what `Portrait.render_frame` takes, frame by frame."""
        info, encoder = self.portrait.info, self.portrait.driven.speech_encoder
        rolling = RollingWindows(
            self.features(), rate_hz=info.speech_rate_hz, frame_rate_hz=info.frame_rate_hz
        )
        kept = torch.zeros(0, 0)
        end = self.frames + _BEHIND
        for start in range(-ATTENTION_CENTER, end, BLOCK_FRAMES):
            block = np.arange(start, min(start + BLOCK_FRAMES, end))
            heard, kept = _encode(encoder, rolling.take(block), kept)
            yield from heard

    def features(self) -> Iterator[NDArray[np.float32]]:
        """Give the recording's features in pieces of (feature_frames, feature_dim)."""
        if self._brought is not None:
            yield self._brought
            return
        opened, self._opened = self._opened or open_stream(self._source), None
        stream = opened.stream
        for first in range(0, len(self._matched), PIECE_SAMPLES):
            yield stream.push(self._matched[first : first + PIECE_SAMPLES])
        yield stream.finish()


class RollingWindows:
    """Cuts speech windows out of features that arrive in pieces; forgets what no later one needs.

    The windows are those that `speech_windows` cuts out of the whole.
    """

    def __init__(
        self, pieces: Iterator[NDArray[np.float32]], *, rate_hz: float, frame_rate_hz: float
    ) -> None:
        """Start before the first feature.

        Args:
            pieces: Features, one piece after the other. Shape (feature_frames, feature_dim) each.
            rate_hz: Features per second.
            frame_rate_hz: Frames per second.
        """
        self._pieces, self._rate_hz, self._frame_rate_hz = pieces, rate_hz, frame_rate_hz
        self._window = window_length(rate_hz)
        self._held: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        # Feature at which the held ones begin.
        self._first = 0

    def take(self, frame_index: NDArray[np.int64]) -> Float[Tensor, "frames window feature_dim"]:
        """Cut the windows of the next frames.

        Args:
            frame_index: In order, none before those of an earlier call; may lie before the first
                frame and behind the last. Shape (frames,).
        """
        middle = frame_times(frame_index, self._frame_rate_hz)
        # One feature more on either side than can be needed.
        earliest = math.floor(middle[0] * self._rate_hz - self._window / 2) - 1
        latest = math.ceil(middle[-1] * self._rate_hz + self._window / 2) + 1
        self._hold_until(latest)
        self._forget_before(earliest)
        windows = speech_windows(
            self._held,
            rate_hz=self._rate_hz,
            frame_times_s=middle - self._first / self._rate_hz,
            window=self._window,
        )
        return torch.from_numpy(windows)

    def _hold_until(self, feature: int) -> None:
        while self._first + len(self._held) < feature:
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._held = np.concatenate((self._held, piece)) if len(self._held) else piece

    def _forget_before(self, feature: int) -> None:
        # The last feature stays: it is repeated behind the end of the recording.
        passed = min(feature - self._first, len(self._held) - 1)
        if passed > 0:
            self._held, self._first = self._held[passed:], self._first + passed


@torch.inference_mode()
def _encode(
    encoder: SpeechEncoder, windows: Tensor, kept: Tensor
) -> tuple[Float[Tensor, "frames speech_dim"], Float[Tensor, "kept speech_dim"]]:
    """Encode windows and weigh those neighbours that are all there; keep the last for the next."""
    encoded = encoder.encode(windows)
    if len(kept):
        encoded = torch.cat((kept, encoded))
    keep = encoded[max(0, len(encoded) - ATTENTION_FRAMES + 1) :]
    if len(encoded) < ATTENTION_FRAMES:
        return encoded[:0], keep
    return encoder.attend(encoded.unfold(0, ATTENTION_FRAMES, 1).transpose(1, 2)), keep


def _read_brought(
    info: PortraitInfo, feature_file: Path | None, *, samples: int
) -> NDArray[np.float32] | None:
    """Read features that the user brings; None where the portrait computes them itself."""
    if info.speech_feature in COMPUTED_FEATURES:
        if feature_file is not None:
            raise UsageError(
                f"the portrait listens to {info.speech_feature} features and computes them itself",
                "leave --feature-file out",
            )
        return None
    if feature_file is None:
        return None
    seconds, rate_hz = samples / SPEECH_SAMPLE_RATE_HZ, info.speech_rate_hz
    return read_feature_file(feature_file, seconds=seconds, rate_hz=rate_hz, like=info.heard)[0]
