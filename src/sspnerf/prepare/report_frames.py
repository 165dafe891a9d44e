"""Frames that the report shows: some spread over the clip, and the most doubtful ones."""

import io
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sspnerf.prepare.checks import Measured
from sspnerf.prepare.stretches import moment

# Sides of pictures in the page, px.
SHOWN_SIDE = 320
JPEG_QUALITY = 82
SAMPLES, DOUBTFUL = 12, 6
# Doubtful frames are this far apart, s.
APART_S = 0.5


class ChosenFrame(NamedTuple):
    """A frame to show, and what to write below it."""

    frame: int
    caption: str


def sample_frames(frames: int, frame_rate_hz: float) -> list[ChosenFrame]:
    """Choose frames spread evenly over the clip.

    Example:
        >>> [chosen.frame for chosen in sample_frames(4, 25.0)]
        [0, 1, 2, 3]
    """
    count = min(frames, SAMPLES)
    places = ((2 * np.arange(count) + 1) * frames // (2 * count)).tolist()
    return [ChosenFrame(index, moment(index / frame_rate_hz)) for index in places]


def doubtful_frames(measured: Measured) -> list[ChosenFrame]:
    """Choose the frames that are worst in one way or another, the worst of each kind first.

    Returns:
        At most `DOUBTFUL`, in the order of time.
    """
    chosen: dict[int, str] = {}
    nearest = APART_S * measured.frame_rate_hz
    kinds = _doubts(measured)
    # Round by round: the worst of each kind, then the second worst, and so on.
    for _ in range(DOUBTFUL):
        for values, caption in kinds:
            free = np.isfinite(values)
            for index in chosen:
                free[max(0, int(index - nearest)) : int(index + nearest) + 1] = False
            if len(chosen) >= DOUBTFUL or not free.any():
                continue
            worst = int(np.where(free, values, -np.inf).argmax())
            chosen[worst] = caption.format(values[worst])
    rate = measured.frame_rate_hz
    return [
        ChosenFrame(index, f"{moment(index / rate)}: {chosen[index]}") for index in sorted(chosen)
    ]


def _doubts(measured: Measured) -> list[tuple[NDArray[np.float64], str]]:
    """Per frame how doubtful it is in each way, and how that is said."""
    valid = measured.valid

    def seen(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(valid, values, np.nan)

    kinds = [
        (np.where(valid, np.nan, 1.0), "no face was found"),
        (seen(measured.error_px), "landmarks off by {:.1f} px"),
        (seen(measured.turned_deg), "turned away by {:.0f} degrees"),
    ]
    if measured.torso_confidence is not None:
        doubt = 100 * (1 - measured.torso_confidence)
        kinds.append((np.asarray(doubt, np.float64), "torso unsure by {:.0f} %"))
    strange = np.full(measured.frames, np.nan)
    strange[measured.patched] = measured.strangeness
    kinds.append((strange, "looks unlike other times ({:.1f})"))
    return kinds


def to_jpeg(picture: NDArray[np.uint8], side: int = SHOWN_SIDE) -> bytes:
    """Shrink and compress a picture for the page.

    Args:
        picture: RGB, square. Shape (height, width, 3).
        side: At most this large, px.
    """
    if picture.shape[0] > side:
        shown = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        picture = np.asarray(shown, np.uint8)
    written = io.BytesIO()
    Image.fromarray(picture).save(written, format="JPEG", quality=JPEG_QUALITY)
    return written.getvalue()
