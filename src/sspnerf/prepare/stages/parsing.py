"""Stage `parsing`: label every pixel of every frame."""

import contextlib
import threading
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sspnerf.perception.models import model_hashes
from sspnerf.prepare.chunks import over_chunks, split_into_chunks
from sspnerf.prepare.found import Nothing, Take
from sspnerf.prepare.masks import hair_every, window_to_frame
from sspnerf.prepare.parsers import Parser, parser_by_name, parser_models
from sspnerf.prepare.parsing import clip_skin_color
from sspnerf.prepare.workspace import Stage, Workspace


def run(work: Workspace) -> Nothing:
    """Learn the skin's color, then parse."""
    count, side = work.found(Take).frames, work.settings.size
    frames, mask, landmarks = work.array("frames"), work.array("mask"), work.array("landmarks")
    skin = clip_skin_color(frames, landmarks, work.array("valid"))
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


def _hair_in_frame(work: Workspace, index: int) -> NDArray[np.float32]:
    """Hair between two looks at it: both of them, carried along with the head, weighted by time."""
    hair, every = work.array("hair"), hair_every(work.found(Take).frame_rate_hz)
    before, since = divmod(index, every)
    after = min(before + 1, len(hair) - 1)
    share = np.float32(since / every)
    window = (1 - share) * hair[before].astype(np.float32) + share * hair[after]
    box = work.array("hair_boxes")[index]
    return window_to_frame(window / np.float32(255), box, work.settings.size)


STAGE = Stage(
    run=run,
    found=Nothing,
    needs=("decode", "landmarks", "background", "tracking"),
    reads=("hair", "hair_boxes", "repeats"),
    settings=lambda settings: {
        "parser": settings.parser,
        "models": model_hashes(parser_models(settings.parser)),
    },
    leaves=("labels.npy",),
)
