"""Stage `parsing`: label every pixel of every frame."""

import contextlib
import threading
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sspnerf.perception.models import MODEL_FILES
from sspnerf.prepare.background import spread_evenly
from sspnerf.prepare.chunks import over_chunks, split_into_chunks
from sspnerf.prepare.colors import SkinColor, fit_skin_color
from sspnerf.prepare.found import Nothing, Take
from sspnerf.prepare.masks import window_to_frame
from sspnerf.prepare.parsers import Parser, parser_by_name, parser_models
from sspnerf.prepare.parsing import face_skin_mask
from sspnerf.prepare.stages.landmarks import hair_every
from sspnerf.prepare.workspace import Stage, Workspace

# Frames from which the skin's color is learned, and pixels of each.
SKIN_FRAMES = 60
SKIN_PIXELS = 2000


def run(work: Workspace) -> Nothing:
    """Learn the skin's color, then parse."""
    count, side = work.found(Take).frames, work.settings.size
    frames, mask, landmarks = work.array("frames"), work.array("mask"), work.array("landmarks")
    skin = _skin_color(work)
    labels, repeats = work.create("labels", (count, side, side)), work.array("repeats")
    parsers = _ParserPerThread(work.settings.parser)

    def parse_chunk(chunk: range) -> None:
        parser = parsers.own()
        for index in chunk:
            if repeats[index] and index > chunk.start:
                labels[index] = labels[index - 1]
                continue
            labels[index] = parser.label(
                frames[index],
                landmarks[index],
                person=mask[index].astype(np.float32) / np.float32(255),
                hair=_hair_in_frame(work, index),
                skin=skin,
            )

    with contextlib.closing(parsers):
        over_chunks(work, "parsing", split_into_chunks(count), parse_chunk)
    return Nothing()


class _ParserPerThread:
    """Networks answer one caller at a time, so each thread has its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: Any = threading.local()
        self._made: list[Parser] = []

    def own(self) -> Parser:
        """Return the calling thread's parser."""
        if not hasattr(self._thread, "parser"):
            self._thread.parser = parser_by_name(self._name)
            self._made.append(self._thread.parser)
        return cast(Parser, self._thread.parser)

    def close(self) -> None:
        """Close all threads' parsers."""
        for parser in self._made:
            parser.close()


def _skin_color(work: Workspace) -> SkinColor:
    frames, landmarks = work.array("frames"), work.array("landmarks")
    seen = np.flatnonzero(work.array("valid"))
    chosen = seen[spread_evenly(len(seen), SKIN_FRAMES)]
    samples = [_skin_pixels(frames[index], landmarks[index]) for index in chosen]
    return fit_skin_color(np.concatenate(samples))


def _skin_pixels(picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    pixels = picture[face_skin_mask(landmarks, (picture.shape[0], picture.shape[1]))]
    return pixels[:: max(1, len(pixels) // SKIN_PIXELS)]


def _hair_in_frame(work: Workspace, index: int) -> NDArray[np.float32]:
    """Hair between two looks at it: both of them, carried along with the head, weighted by time."""
    hair, every = work.array("hair"), hair_every(work)
    before, since = divmod(index, every)
    after = min(before + 1, len(hair) - 1)
    share = np.float32(since / every)
    window = (1 - share) * hair[before].astype(np.float32) + share * hair[after]
    box = work.array("hair_boxes")[index]
    return window_to_frame(window / np.float32(255), box, work.settings.size)


def _models(parser: str) -> str:
    """Say which networks parse."""
    return ",".join(MODEL_FILES[name].sha256[:12] for name in parser_models(parser))


STAGE = Stage(
    run=run,
    found=Nothing,
    needs=("decode", "landmarks", "background", "tracking"),
    reads=("hair", "hair_boxes", "repeats"),
    settings=lambda settings: {"parser": settings.parser, "models": _models(settings.parser)},
    leaves=("labels.npy",),
)
