"""Stage `preview`: the film of what was seen, to look at before training."""

import numpy as np
from numpy.typing import NDArray

from sspnerf.media.audio import read_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.prepare.chunks import CHUNK_FRAMES, in_order
from sspnerf.prepare.face_regions import CHIN
from sspnerf.prepare.found import Nothing, Sound, Take
from sspnerf.prepare.preview import PREVIEW_SIDE, PreviewFrame, draw_preview
from sspnerf.prepare.torso import BEHIND_CHIN_CM
from sspnerf.prepare.workspace import Stage, Workspace

# From this rate on every second frame is enough to look at.
FAST_HZ = 20.0


def run(work: Workspace) -> Nothing:
    """Draw labels, mesh and axes over every frame."""
    take = work.found(Take)
    painter = Painter(work)
    step = 2 if take.frame_rate_hz >= FAST_HZ else 1
    waveform = None
    if work.found(Sound).has_speech:
        waveform = read_waveform(work.writer.partial / "speech.wav", SPEECH_SAMPLE_RATE_HZ)
    with FilmWriter(
        work.writer.partial / "preview.mp4",
        width=PREVIEW_SIDE, height=PREVIEW_SIDE, frame_rate_hz=take.frame_rate_hz / step,
        waveform=waveform, sample_rate_hz=SPEECH_SAMPLE_RATE_HZ, preset="superfast",
    ) as film:  # fmt: skip
        for index, shown in in_order(painter.draw, range(0, take.frames, step)):
            film.write(shown)
            if index % CHUNK_FRAMES < step:
                work.release()
            work.progress("preview", min(index + step, take.frames), take.frames)
    return Nothing()


class Painter:
    """Draws what was seen in frames."""

    def __init__(self, work: Workspace) -> None:
        self._work = work
        vertices = work.mesh().vertices.astype(np.float64)
        chest = vertices[CHIN] + np.array([0.0, -7.0, -BEHIND_CHIN_CM])
        self._anchors = np.stack((vertices[1], chest))

    def draw(self, index: int) -> NDArray[np.uint8]:
        """Draw labels, mesh and axes over a frame. Shape (384, 384, 3)."""
        work = self._work
        frame = PreviewFrame(
            picture=work.array("frames")[index],
            labels=work.array("labels")[index],
            landmarks=work.array("landmarks")[index],
            pose=work.array("poses")[index].astype(np.float64),
            torso_pose=work.array("torso_poses")[index].astype(np.float64),
            valid=bool(work.array("valid")[index]),
        )
        return draw_preview(frame, intrinsics=work.intrinsics, anchors=self._anchors)


STAGE = Stage(
    run=run,
    found=Nothing,
    needs=("decode", "landmarks", "tracking", "parsing", "torso", "speech"),
    leaves=("preview.mp4",),
)
