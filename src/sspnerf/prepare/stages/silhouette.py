"""Stage `silhouette`: the person's mask, steady in time and sharp in space."""

import numpy as np

from sspnerf.prepare.chunks import over_chunks, split_into_chunks, with_neighbours
from sspnerf.prepare.found import Nothing, Take
from sspnerf.prepare.masks import PERSON_SIDE, STEADY_REACH, SilhouetteFilter, fit, to_bytes
from sspnerf.prepare.workspace import Stage, Workspace


def run(work: Workspace) -> Nothing:
    """Filter what the person network has said; each chunk sees its neighbours' frames too."""
    count, side = work.found(Take).frames, work.settings.size
    frames, person = work.array("frames"), work.array("person")
    silhouette = work.create("silhouette", (count, side, side), np.uint8)

    def filter_chunk(chunk: range) -> None:
        steady = SilhouetteFilter(max(PERSON_SIDE, side))
        seen = with_neighbours(chunk, STEADY_REACH, count)
        masks = (
            mask
            for index in seen
            for mask in steady.push(frames[index], person[index] / np.float32(255))
        )
        ready = seen.start
        for mask in masks:
            if ready in chunk:
                silhouette[ready] = to_bytes(fit(mask, side))
            ready += 1
        for mask in steady.flush():
            if ready in chunk:
                silhouette[ready] = to_bytes(fit(mask, side))
            ready += 1

    over_chunks(work, "silhouette", split_into_chunks(count), filter_chunk)
    return Nothing()


STAGE = Stage(
    run=run,
    found=Nothing,
    needs=("decode", "landmarks"),
    reads=("person",),
    settings=lambda settings: {"size": settings.size},
    scratch=("silhouette",),
)
