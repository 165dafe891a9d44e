"""Stage `background`: see behind the person, then complete the person's mask by it."""

from sspnerf.prepare.background import background_plate, complete_silhouette
from sspnerf.prepare.chunks import over_chunks, split_into_chunks
from sspnerf.prepare.found import Nothing, Take
from sspnerf.prepare.workspace import Stage, Workspace

# A plate of which more than this was never seen is no plate.
MOSTLY_UNSEEN = 0.9


def run(work: Workspace) -> Nothing:
    """Make the plate from all frames; what differs from it completes the mask."""
    count, side = work.found(Take).frames, work.settings.size
    frames, silhouette = work.array("frames"), work.array("silhouette")
    plate = background_plate(frames, silhouette)
    work.release()
    work.writer.write_background(plate.picture)
    work.writer.write_background_seen(plate.seen)
    mask, repeats = work.create("mask", (count, side, side)), work.array("repeats")

    def complete_chunk(chunk: range) -> None:
        for index in chunk:
            if repeats[index] and index > chunk.start:
                mask[index] = mask[index - 1]
            else:
                mask[index] = complete_silhouette(frames[index], silhouette[index], plate)

    over_chunks(work, "background", split_into_chunks(count), complete_chunk)
    unseen = float(1 - plate.seen.mean())
    if unseen > MOSTLY_UNSEEN:
        work.note_warning("hardly any background shows in any frame; it is mostly a guess")
    return Nothing()


STAGE = Stage(
    run=run,
    found=Nothing,
    needs=("decode", "landmarks", "silhouette"),
    reads=("silhouette", "repeats"),
    leaves=("background.png", "background_seen.png", "mask.npy"),
)
