"""The parsing of AD-NeRF's layout: pictures in four colors, one per part of the person.

Their code writes the colors through OpenCV, which counts blue first: the head is (255, 0, 0) there
and blue in the file.
"""

from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sspnerf.data.semantics import BODY_CLASSES, SemanticClass
from sspnerf.errors import MediaError

# A pixel whose channels are further from all four colors is of none; JPEG and resampling blur.
NEAR_COLOR = 100
MOST_UNKNOWN = 0.02


class Part(IntEnum):
    """What their parsing tells apart."""

    BACKGROUND = 0
    HEAD = 1
    """Everything above the neck: skin, hair, ears, glasses, hat."""
    NECK = 2
    TORSO = 3


# RGB, in the order of `Part`.
PART_COLORS = np.array([(255, 255, 255), (0, 0, 255), (0, 255, 0), (255, 0, 0)], dtype=np.uint8)

# Where labels and parts disagree and nothing else is known, a part stands for this class.
PART_CLASS = {
    Part.BACKGROUND: SemanticClass.BACKGROUND,
    Part.HEAD: SemanticClass.SKIN,
    Part.NECK: SemanticClass.NECK,
    Part.TORSO: SemanticClass.TORSO,
}


def parts_of_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Merge our 11 classes to their four parts.

    Args:
        labels: `SemanticClass` values. Shape (..., height, width).

    Returns:
        `Part` values, same shape.
    """
    table = np.full(len(SemanticClass), Part.HEAD, dtype=np.uint8)
    table[SemanticClass.BACKGROUND] = Part.BACKGROUND
    table[list(BODY_CLASSES)] = (Part.NECK, Part.TORSO)
    return np.asarray(table[labels])


def write_parts(path: Path, parts: NDArray[np.uint8]) -> None:
    """Paint parts. Shape (height, width)."""
    Image.fromarray(PART_COLORS[parts]).save(path)


def read_parts(path: Path) -> NDArray[np.uint8]:
    """Read a parsing picture.

    Returns:
        `Part` values. Shape (height, width).

    Raises:
        MediaError: If it cannot be read, or its colors are others.
    """
    try:
        with Image.open(path) as image:
            colors = np.array(image.convert("RGB")).astype(np.int16)
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error}", "parse that picture again") from error
    distance = np.stack(
        [np.abs(colors - color).max(axis=-1) for color in PART_COLORS.astype(np.int16)]
    )
    is_unknown = distance.min(axis=0) > NEAR_COLOR
    if is_unknown.mean() > MOST_UNKNOWN:
        color = tuple(int(value) for value in colors[is_unknown][0])
        raise MediaError(
            f"{path} shows colors like {color}; expected white, blue (head), green (neck) and red "
            "(torso)",
            "remove the folder `parsing`: the person is then found without it",
        )
    return np.asarray(distance.argmin(axis=0), dtype=np.uint8)
