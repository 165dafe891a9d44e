"""Speech features that the user brings as a .npy file, for example DeepSpeech windows.

Two shapes are read:

    (feature_frames, dim)      one row after the other
    (frames, window, dim)      one window around each video frame, as AD-NeRF's aud.npy (16 x 29)

Windows that overlap, each the one before moved on by a few rows, are rolled out again into the
rows they were cut from: of each the rows from its middle on that the next one has not. Rows are cut
into windows later anyway, around the middle of each frame. Windows that do not overlap like this
are flattened: one row of window * dim numbers for each.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sspnerf.data.manifest import SpeechFeature
from sspnerf.errors import UsageError

# Features and recording may end this far apart: extractors drop or add a few at the ends.
TOLERANCE_S = 0.5
_HINT = "write one with numpy.save: (feature_frames, dim), or windows (frames, window, dim)"


def read_feature_file(
    path: Path,
    *,
    seconds: float,
    rate_hz: float,
    like: SpeechFeature | None = None,
) -> tuple[NDArray[np.float32], SpeechFeature]:
    """Read features that somebody else has computed.

    Args:
        path: The file.
        seconds: Length of the recording that they are of, s.
        rate_hz: Rows or windows per second, > 0.
        like: The features that a portrait was trained with; these must fit them, and their rate
            holds instead of `rate_hz`.

    Returns:
        Features (feature_frames, dim), and what they are.

    Raises:
        UsageError: If the file cannot be read, holds no finite numbers in one of the two shapes,
            does not last as long as the recording, or does not fit `like`.
    """
    array = _read_array(path)
    features = array if array.ndim == 2 else None
    if features is not None:
        rate_hz = rate_hz if like is None else like.rate_hz
    else:
        hop = _hop(array) if like is None else _hop_like(array, like, seconds)
        features = _flatten(array) if hop is None else _roll_out(array, hop)
        rate_hz = rate_hz * (hop or 1) if like is None else like.rate_hz
    told = SpeechFeature(rate_hz=rate_hz, dim=features.shape[1])
    if like is not None and told.dim != like.dim:
        raise UsageError(
            f"{path} holds features of {told.dim} numbers; the portrait listens to {like.dim}",
            "make them as those that it was trained with",
        )
    lasts = len(features) / rate_hz
    if abs(lasts - seconds) > TOLERANCE_S:
        raise UsageError(
            f"{path} holds {lasts:.1f} s of features ({array.shape[0]} of them), and the recording "
            f"lasts {seconds:.1f} s",
            "give the features of this recording, and their rate: --feature-rate-hz",
        )
    return features, told


def _read_array(path: Path) -> NDArray[np.float32]:
    """Read an array of finite numbers with two or three axes."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist", _HINT)
    try:
        array = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} is no NumPy array of numbers", _HINT) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise UsageError(f"{path} holds more than one array", _HINT)
    if array.ndim not in (2, 3) or not array.size:
        raise UsageError(
            f"{path} has shape {array.shape}; expected (feature_frames, dim) or "
            "(frames, window, dim), none of them 0",
            _HINT,
        )
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{path} is {array.dtype}; expected real numbers", _HINT)
    numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        wrong = int(np.argmin(np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)))
        raise UsageError(f"feature {wrong} of {path} is not finite", "compute them again")
    return numbers


def _hop(windows: NDArray[np.float32]) -> int | None:
    """Find by how many rows each window lies behind the one before; None if they do not overlap."""
    if len(windows) < 2:
        return None
    for hop in range(1, windows.shape[1] // 2 + 1):
        if np.array_equal(windows[:-1, hop:], windows[1:, :-hop]):
            return hop
    return None


def _hop_like(windows: NDArray[np.float32], like: SpeechFeature, seconds: float) -> int | None:
    """Say by how many rows windows move on if they are made as those of the training."""
    _, window, dim = windows.shape
    if dim != like.dim:
        return None
    hop = round(like.rate_hz * seconds / len(windows))
    return int(max(1, min(window // 2, hop)))


def _roll_out(windows: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """Put the rows back in a line: of each window those from its middle to the next one's."""
    _, window, dim = windows.shape
    return windows[:, window // 2 : window // 2 + hop].reshape(-1, dim)


def _flatten(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make one row of each window."""
    return windows.reshape(len(windows), -1)
