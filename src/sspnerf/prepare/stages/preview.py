"""Stage `preview`: the film of what was seen, to look at before training."""

import numpy as np

from sspnerf.media.audio import read_waveform
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.prepare.chunks import CHUNK_FRAMES
from sspnerf.prepare.face_regions import CHIN
from sspnerf.prepare.found import Nothing, Sound, Take
from sspnerf.prepare.preview import PREVIEW_SIDE, PreviewFrame, draw_preview
from sspnerf.prepare.torso import BEHIND_CHIN_CM
from sspnerf.prepare.workspace import Stage, Workspace


def run(work: Workspace) -> Nothing:
    """Draw labels, mesh and axes over every frame."""
    take = work.found(Take)
    vertices = work.mesh().vertices.astype(np.float64)
    anchors = np.stack((vertices[1], vertices[CHIN] + np.array([0.0, -7.0, -BEHIND_CHIN_CM])))
    waveform = None
    if work.found(Sound).has_speech:
        waveform = read_waveform(work.writer.partial / "speech.wav", SPEECH_SAMPLE_RATE_HZ)
    with FilmWriter(
        work.writer.partial / "preview.mp4",
        width=PREVIEW_SIDE, height=PREVIEW_SIDE, frame_rate_hz=take.frame_rate_hz,
        waveform=waveform, sample_rate_hz=SPEECH_SAMPLE_RATE_HZ, preset="veryfast",
    ) as film:  # fmt: skip
        for index in range(take.frames):
            shown = draw_preview(_frame(work, index), intrinsics=work.intrinsics, anchors=anchors)
            film.write(shown)
            if index % CHUNK_FRAMES == 0:
                work.release()
            work.progress("preview", index + 1, take.frames)
    return Nothing()


def _frame(work: Workspace, index: int) -> PreviewFrame:
    return PreviewFrame(
        picture=work.array("frames")[index],
        labels=work.array("labels")[index],
        landmarks=work.array("landmarks")[index],
        pose=work.array("poses")[index].astype(np.float64),
        torso_pose=work.array("torso_poses")[index].astype(np.float64),
        valid=bool(work.array("valid")[index]),
    )


STAGE = Stage(
    run=run,
    found=Nothing,
    needs=("decode", "landmarks", "tracking", "parsing", "torso", "speech"),
    leaves=("preview.mp4",),
)
