"""Sound, speech features and blinks of AD-NeRF's layout.

`aud.npy`, `aud_ds.npy`, `aud_hu.npy`, ... hold one block per frame of the video, (frames, steps,
dim): 16 steps of DeepSpeech around the frame, or 2 of HuBERT in it. A clip's features are one row
per time, so a block becomes one row of steps * dim numbers, at the frame rate.

`au.csv` is a table of OpenFace, one row per picture; AU45_r is the strength of a blink, 0 to 5.
Linux' OpenFace writes `AU45_r`, Windows' ` AU45_r`; ER-NeRF reads the latter.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sspnerf.errors import MediaError
from sspnerf.exchange.transforms import Warn

AU_FULL = 5.0
AU_BLINK = "AU45_r"
# Places of the blinks among MediaPipe's 52 blendshapes: the left eye's, then the right one's.
EYE_BLINKS = (9, 10)
# Features may end this much before the picture, s; the last row is held, as their readers do.
MOST_SHORT_S = 0.5


def find_sound(folder: Path, warn: Warn) -> Path | None:
    """Find the sound: aud.wav, or the only .wav.

    Raises:
        MediaError: If several files may be meant.
    """
    if (folder / "aud.wav").is_file():
        return folder / "aud.wav"
    found = sorted(folder.glob("*.wav"))
    if len(found) > 1:
        raise MediaError(
            f"{folder} has no aud.wav and {len(found)} other .wav files: "
            f"{', '.join(path.name for path in found)}",
            "rename the one of the take to aud.wav",
        )
    if not found:
        warn(f"{folder} has no aud.wav: no sound; train the clip with --speech FILE")
        return None
    warn(f"{folder} has no aud.wav; {found[0].name} is taken for it")
    return found[0]


def find_features(folder: Path) -> dict[str, Path]:
    """Find the files of speech features by the names they get in the clip: aud, aud_ds, ..."""
    return {path.stem: path for path in sorted(folder.glob("aud*.npy"))}


def read_features(
    path: Path, rows: NDArray[np.int64], frame_rate_hz: float, warn: Warn
) -> tuple[NDArray[np.float32], str]:
    """Read the rows of the clip's frames.

    Args:
        path: The .npy.
        rows: aud_id of each frame. Shape (frames,).
        frame_rate_hz: Of the clip.
        warn: Called with one line if the last rows are missing.

    Returns:
        Features, shape (frames, dim), and the shape that a block had, such as `16x29`.

    Raises:
        MediaError: If it is no such array, is not finite, or ends long before the picture.
    """
    try:
        blocks = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(f"{path} cannot be read: {error}", "make it again or remove it") from error
    if blocks.ndim < 2 or blocks.size == 0 or not np.issubdtype(blocks.dtype, np.number):
        raise MediaError(
            f"{path} is {blocks.dtype} {blocks.shape}; expected numbers (frames, steps, dim)",
            "make it again or remove it",
        )
    short = int(rows.max()) + 1 - len(blocks)
    if short > MOST_SHORT_S * frame_rate_hz:
        raise MediaError(
            f"{path} has {len(blocks)} rows; the frames ask for {int(rows.max()) + 1}",
            "make it again from the whole sound, or remove it",
        )
    if short > 0:
        warn(f"{path.name} ends {short} frames before the picture; its last row is held")
    chosen = np.asarray(blocks[np.minimum(rows, len(blocks) - 1)], dtype=np.float32)
    if not np.isfinite(chosen).all():
        raise MediaError(f"{path} holds NaN or infinity", "make it again or remove it")
    return chosen.reshape(len(rows), -1), "x".join(map(str, blocks.shape[1:]))


def read_blinks(path: Path, ids: range) -> NDArray[np.float32]:
    """Read how far the eyes are closed.

    Args:
        path: au.csv.
        ids: img_id of each frame: its row in the table.

    Returns:
        0 open to 1 closed; NaN for frames beyond the table. Shape (frames,).

    Raises:
        MediaError: If it is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
        column = table[0].index(AU_BLINK)
        strength = np.array([float(row[column]) for row in table[1:]], dtype=np.float32)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError) as error:
        raise MediaError(
            f"{path} has no column {AU_BLINK} of numbers", "make it with OpenFace, or remove it"
        ) from error
    blinks = np.full(len(ids), np.nan, dtype=np.float32)
    known = np.array([img_id < len(strength) for img_id in ids])
    blinks[known] = np.clip(strength[[i for i in ids if i < len(strength)]] / AU_FULL, 0, 1)
    return blinks


def write_blinks(path: Path, blinks: NDArray[np.floating], frame_rate_hz: float) -> None:
    """Write how far the eyes are closed as OpenFace's table for Windows, cut to what is read.

    Args:
        path: au.csv.
        blinks: 0 open to 1 closed. Shape (frames,).
        frame_rate_hz: Of the clip.
    """
    lines = [f"frame, face_id, timestamp, confidence, success, {AU_BLINK}"]
    lines += [
        f"{index + 1}, 0, {index / frame_rate_hz:.3f}, 1.00, 1, {AU_FULL * blink:.3f}"
        for index, blink in enumerate(blinks)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
