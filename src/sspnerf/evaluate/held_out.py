"""Render a run's held-out frames and measure them: docs/evaluate.md.

Full portrait: head, torso and background are all rendered; nothing of the truth is pasted in. Sound
drives the mouth; poses and the upper face come from the held-out frames themselves.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.semantics import CLASS_NAMES, SEMANTIC_CLASSES, SemanticClass, color_labels
from sspnerf.data.speech_features import check_same_features
from sspnerf.errors import ClipError
from sspnerf.evaluate.lip_landmarks import LandmarkDistance, LipComparison
from sspnerf.evaluate.metrics import (
    class_iou,
    confusion,
    mouth_agreement,
    mouth_box,
    psnr,
    ssim,
)
from sspnerf.evaluate.regions import RegionErrors
from sspnerf.media.film_writer import FilmWriter
from sspnerf.media.speech import SPEECH_SAMPLE_RATE_HZ
from sspnerf.render.portrait import Portrait, RenderedFrame, load_portrait
from sspnerf.render.source import read_source, read_speech

SHEET_FRAMES = 4
LANDMARKS_NOT_ASKED = "not asked for"
EVALUATION_FOLDER, SCORES_NAME, SHEET_NAME = "evaluation", "metrics.json", "sheet.png"


class Measured(NamedTuple):
    """One held-out frame."""

    frame: int
    truth: NDArray[np.uint8]
    true_labels: NDArray[np.uint8]
    rendered: RenderedFrame


class Scores(NamedTuple):
    """What was measured over all held-out frames."""

    psnr: float
    """Full picture, dB; mean over frames."""
    ssim: float
    """Full picture; mean over frames."""
    psnr_mouth: float | None
    """Box around the lips, dB, mean over frames; None if no frame shows lips."""
    psnr_lips: float | None
    """Lips and teeth, dB, of the error pooled over frames, as all below; None if never seen."""
    psnr_torso: float | None
    """Neck and torso, dB."""
    psnr_border: float | None
    """Band where head and body meet, dB."""
    psnr_silhouette: float | None
    """Band along the person's outline, dB."""
    mouth_agreement: float | None
    """Pearson's r between the mouth's opening as rendered and as filmed, over the frames.

    None without parsing: the curve is counted in labels.
    """
    mean_iou: float | None
    """Mean over the classes that occur of intersection over union; None without parsing."""
    iou: dict[str, float]
    """By class; empty without parsing."""
    landmark_distance: float | None
    """Of the lips, px of the clip's own frames, mean over frames; None if not measured."""
    landmarks_missing: str | None
    """Why there is no landmark distance."""
    frames: int
    """How many were measured."""


def evaluate(
    run: Path,
    *,
    clip: Path | None = None,
    every: int = 1,
    landmarks: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Measure a run on the frames that it did not learn from.

    Writes into RUN/evaluation: metrics.json, side_by_side.mp4 (truth, rendering, labels; with
    sound) and sheet.png.

    Args:
        run: The run's folder.
        clip: The clip it was trained on, if it was moved since.
        every: Measure every n-th held-out frame only.
        landmarks: Measure the landmark distance too; 30 ms a frame, and needs MediaPipe.
        progress: Called with frames done and frames in all.

    Raises:
        PortraitError: If the run holds no portrait, or does not say which clip it is of.
        ClipError: If the clip is gone, or is not the one of the training.
    """
    portrait, source = load_portrait(run), read_source(run)
    opened = open_clip(clip or Path(source.clip))
    source.check(opened)
    held_out = range(portrait.info.training_frames, opened.manifest.frames, every)
    tracked = tracked_frames(opened, held_out)
    folder = run / EVALUATION_FOLDER
    folder.mkdir(exist_ok=True)
    features, told, waveform = read_speech(
        opened,
        None if source.speech is None else Path(source.speech),
        kind=portrait.info.speech_feature,
    )
    check_same_features(portrait.info.speech_feature, told, portrait.info.heard)
    with contextlib.ExitStack() as open_parts:
        lips = open_parts.enter_context(LipComparison()) if landmarks else None
        tally = _Tally(tracked, parsing=portrait.info.config.get("parsing", True), lips=lips)
        film = open_parts.enter_context(_film(folder, portrait, waveform, held_out))
        for done, measured in enumerate(
            render_held_out(portrait, opened, features, held_out), start=1
        ):
            # The film shows every frame, or it would run ahead of its sound.
            film.write(side_by_side(measured))
            if opened.valid[measured.frame]:
                tally.add(measured)
            if progress is not None:
                progress(done, len(held_out))
    Image.fromarray(np.concatenate(tally.rows)).save(folder / SHEET_NAME)
    scores = tally.scores()
    (folder / SCORES_NAME).write_text(json.dumps(scores._asdict(), indent=2) + "\n")
    return scores


def tracked_frames(clip: Clip, frames: Iterable[int]) -> list[int]:
    """Return the frames that are measured: those where the face was tracked.

    Raises:
        ClipError: If there is none.
    """
    tracked = [index for index in frames if clip.valid[index]]
    if not tracked:
        raise ClipError(
            f"{clip.path}: no held-out frame shows a tracked face", "prepare a longer video"
        )
    return tracked


def sheet_frames(tracked: list[int]) -> list[int]:
    """Choose the frames that sheet.png shows, one below the other; spread evenly, four at most."""
    chosen = np.linspace(0, len(tracked) - 1, min(SHEET_FRAMES, len(tracked)))
    return [tracked[round(i)] for i in chosen]


def _film(
    folder: Path, portrait: Portrait, waveform: NDArray[np.float32], held_out: range
) -> FilmWriter:
    """Open side_by_side.mp4, with the sound of the held-out frames."""
    info = portrait.info
    start = round(held_out.start / info.frame_rate_hz * SPEECH_SAMPLE_RATE_HZ)
    return FilmWriter(
        folder / "side_by_side.mp4",
        width=3 * info.width,
        height=info.height,
        frame_rate_hz=info.frame_rate_hz / held_out.step,
        waveform=waveform[start:],
        sample_rate_hz=SPEECH_SAMPLE_RATE_HZ,
    )


def render_held_out(
    portrait: Portrait, clip: Clip, features: NDArray[np.float32], frames: Iterable[int]
) -> Iterator[Measured]:
    """Render frames of the clip as its own speech says, one by one."""
    for frame in frames:
        (speech,) = portrait.hear(features, np.array([frame]))
        yield Measured(
            frame,
            np.asarray(clip.frames[frame]),
            np.asarray(clip.labels[frame]),
            portrait.render_frame(speech, clip_frame=frame),
        )


def side_by_side(measured: Measured) -> NDArray[np.uint8]:
    """Lay truth, rendering and labels next to each other. Shape (height, 3 * width, 3)."""
    labels = color_labels(measured.rendered.labels)
    return np.concatenate((measured.truth, measured.rendered.color, labels), axis=1)


class _Tally:
    """Sums up frame by frame, so that no film is held in memory."""

    def __init__(self, frames: list[int], *, parsing: bool, lips: LipComparison | None) -> None:
        self.shown = set(sheet_frames(frames))
        self.parsing, self.lips = parsing, lips
        self.psnr: list[float] = []
        self.ssim: list[float] = []
        self.mouth: list[float] = []
        self.openings: list[tuple[int, int]] = []
        self.counts = np.zeros((SEMANTIC_CLASSES, SEMANTIC_CLASSES), dtype=np.int64)
        self.regions = RegionErrors()
        self.rows: list[NDArray[np.uint8]] = []

    def add(self, measured: Measured) -> None:
        picture, truth = measured.rendered.color, measured.truth
        self.psnr.append(psnr(picture, truth))
        self.ssim.append(ssim(picture, truth))
        self.regions.add(picture, truth, measured.true_labels)
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
        if self.lips is not None:
            self.lips.add(picture, truth)
        if measured.frame in self.shown:
            self.rows.append(side_by_side(measured))

    def scores(self) -> Scores:
        regions = self.regions.psnr()
        # A portrait that learned no classes paints labels all the same; they mean nothing.
        iou = class_iou(self.counts) if self.parsing else np.full(SEMANTIC_CLASSES, np.nan)
        openings = np.array(self.openings, dtype=np.float64).T
        lips = LandmarkDistance(None, LANDMARKS_NOT_ASKED)
        if self.lips is not None:
            lips = self.lips.result()
        return Scores(
            psnr=float(np.mean(self.psnr)),
            ssim=float(np.mean(self.ssim)),
            psnr_mouth=float(np.mean(self.mouth)) if self.mouth else None,
            psnr_lips=regions["lips"],
            psnr_torso=regions["torso"],
            psnr_border=regions["border"],
            psnr_silhouette=regions["silhouette"],
            mouth_agreement=mouth_agreement(*openings) if self.parsing else None,
            mean_iou=float(np.nanmean(iou)) if self.parsing else None,
            iou={
                name: float(value)
                for name, value in zip(CLASS_NAMES, iou, strict=True)
                if not np.isnan(value)
            },
            landmark_distance=lips.distance,
            landmarks_missing=lips.missing,
            frames=len(self.psnr),
        )
