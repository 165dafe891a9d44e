"""Render a run's held-out frames and measure them: docs/evaluate.md.

Full portrait: head, torso and background are all rendered; nothing of the truth is pasted in. Sound
drives the mouth; poses and the upper face come from the held-out frames themselves.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.semantics import CLASS_NAMES, SEMANTIC_CLASSES, SemanticClass, color_labels
from sspnerf.errors import ClipError
from sspnerf.evaluate.metrics import (
    class_iou,
    confusion,
    mouth_agreement,
    mouth_box,
    psnr,
    ssim,
)
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.media.video import FilmWriter
from sspnerf.render.portrait import Portrait, RenderedFrame, load_portrait
from sspnerf.render.source import read_source, read_speech

SHEET_FRAMES = 4


class Measured(NamedTuple):
    """One held-out frame."""

    frame: int
    truth: NDArray[np.uint8]
    true_labels: NDArray[np.uint8]
    rendered: RenderedFrame


class Scores(NamedTuple):
    """What was measured over all held-out frames; means over frames."""

    psnr: float
    """Full picture, dB."""
    ssim: float
    """Full picture."""
    psnr_mouth: float | None
    """Box around the lips, dB; None if no frame shows lips."""
    mouth_agreement: float | None
    """Pearson's r between the mouth's opening as rendered and as filmed, over the frames."""
    mean_iou: float
    """Mean over the classes that occur of intersection over union."""
    iou: dict[str, float]
    """By class."""
    frames: int
    """How many were measured."""


def evaluate(
    run: Path,
    *,
    clip: Path | None = None,
    every: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Measure a run on the frames that it did not learn from.

    Writes into RUN/evaluation: metrics.json, side_by_side.mp4 (truth, rendering, labels; with
    sound) and sheet.png.

    Args:
        run: The run's folder.
        clip: The clip it was trained on, if it was moved since.
        every: Measure every n-th held-out frame only.
        progress: Called with frames done and frames in all.

    Raises:
        PortraitError: If the run holds no portrait, or does not say which clip it is of.
        ClipError: If the clip is gone, or is not the one of the training.
    """
    portrait, source = load_portrait(run), read_source(run)
    opened = open_clip(clip or Path(source.clip))
    source.check(opened)
    held_out = range(portrait.info.training_frames, opened.manifest.frames, every)
    tracked = [index for index in held_out if opened.valid[index]]
    if not tracked:
        raise ClipError(
            f"{opened.path}: no held-out frame shows a tracked face", "prepare a longer video"
        )
    folder = run / "evaluation"
    folder.mkdir(exist_ok=True)
    features, waveform = read_speech(
        opened,
        None if source.speech is None else Path(source.speech),
        feature=portrait.info.speech_feature,
    )
    rate = portrait.info.frame_rate_hz / every
    start = round(held_out.start / portrait.info.frame_rate_hz * SPEECH_SAMPLE_RATE_HZ)
    tally = _Tally(tracked)
    with FilmWriter(
        folder / "side_by_side.mp4",
        width=3 * portrait.info.width,
        height=portrait.info.height,
        frame_rate_hz=rate,
        waveform=waveform[start:],
        sample_rate_hz=SPEECH_SAMPLE_RATE_HZ,
    ) as film:
        for done, measured in enumerate(
            render_held_out(portrait, opened, features, held_out), start=1
        ):
            # The film shows every frame, or it would run ahead of its sound.
            film.write(side_by_side(measured))
            if opened.valid[measured.frame]:
                tally.add(measured)
            if progress is not None:
                progress(done, len(held_out))
    Image.fromarray(np.concatenate(tally.rows)).save(folder / "sheet.png")
    scores = tally.scores()
    (folder / "metrics.json").write_text(json.dumps(scores._asdict(), indent=2) + "\n")
    return scores


def render_held_out(
    portrait: Portrait, clip: Clip, features: NDArray[np.float32], frames: Iterable[int]
) -> Iterator[Measured]:
    """Render frames of the clip as its own speech says, one by one."""
    for frame in frames:
        windows = portrait.windows(features, np.array([frame]))
        yield Measured(
            frame,
            np.asarray(clip.frames[frame]),
            np.asarray(clip.labels[frame]),
            portrait.render_frame(windows, clip_frame=frame),
        )


def side_by_side(measured: Measured) -> NDArray[np.uint8]:
    """Lay truth, rendering and labels next to each other. Shape (height, 3 * width, 3)."""
    labels = color_labels(measured.rendered.labels)
    return np.concatenate((measured.truth, measured.rendered.color, labels), axis=1)


class _Tally:
    """Sums up frame by frame, so that no film is held in memory."""

    def __init__(self, frames: list[int]) -> None:
        chosen = np.linspace(0, len(frames) - 1, min(SHEET_FRAMES, len(frames)))
        self.shown = {frames[round(i)] for i in chosen}
        self.psnr: list[float] = []
        self.ssim: list[float] = []
        self.mouth: list[float] = []
        self.openings: list[tuple[int, int]] = []
        self.counts = np.zeros((SEMANTIC_CLASSES, SEMANTIC_CLASSES), dtype=np.int64)
        self.rows: list[NDArray[np.uint8]] = []

    def add(self, measured: Measured) -> None:
        picture, truth = measured.rendered.color, measured.truth
        self.psnr.append(psnr(picture, truth))
        self.ssim.append(ssim(picture, truth))
        self.counts += confusion(measured.rendered.labels, measured.true_labels)
        box = mouth_box(measured.true_labels)
        interior = [
            int((labels == SemanticClass.MOUTH_INTERIOR).sum())
            for labels in (measured.rendered.labels, measured.true_labels)
        ]
        self.openings.append((interior[0], interior[1]))
        if box is not None:
            x0, y0, x1, y1 = box
            self.mouth.append(psnr(picture[y0:y1, x0:x1], truth[y0:y1, x0:x1]))
        if measured.frame in self.shown:
            self.rows.append(side_by_side(measured))

    def scores(self) -> Scores:
        iou = class_iou(self.counts)
        return Scores(
            psnr=float(np.mean(self.psnr)),
            ssim=float(np.mean(self.ssim)),
            psnr_mouth=float(np.mean(self.mouth)) if self.mouth else None,
            mouth_agreement=mouth_agreement(*np.array(self.openings, dtype=np.float64).T),
            mean_iou=float(np.nanmean(iou)),
            iou={
                name: float(value)
                for name, value in zip(CLASS_NAMES, iou, strict=True)
                if not np.isnan(value)
            },
            frames=len(self.psnr),
        )
