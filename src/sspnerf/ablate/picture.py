"""Pictures of an ablation: ablation.png (what is seen, what is measured) and convergence.png."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from sspnerf.ablate.runs import Ablation
from sspnerf.ablate.table import COLUMNS, Column, Row, summaries
from sspnerf.ablate.variants import BASELINE
from sspnerf.evaluate.held_out import EVALUATION_FOLDER, SHEET_NAME, sheet_frames
from sspnerf.evaluate.metrics import mouth_box
from sspnerf.evaluate.plots import FRAME_GRAY, GRAY, SERIES_COLORS, plot_style, save_figure
from sspnerf.evaluate.regions import head_border
from sspnerf.train.trainer import METRICS_NAME

PICTURE_NAME, CONVERGENCE_NAME = "ablation.png", "convergence.png"
# Zooms: side as part of the picture's, at least; room around the mouth.
ZOOM_SHARE, MOUTH_ROOM = 0.3, 1.4
# Reports of training over which its noisy PSNR is averaged.
SMOOTH_REPORTS = 15

Box = tuple[int, int, int, int]
Picture = NDArray[np.uint8]


class _View(NamedTuple):
    """One row of pictures: a part of the frame, and its name."""

    name: str
    box: Box


def draw_pictures(ablation: Ablation, rows: Sequence[Row]) -> None:
    """Write ablation.png and convergence.png from the runs that are there."""
    done = [row for row in rows if not row.error]
    if not done:
        return
    with plot_style():
        save_figure(_overview(ablation, done), ablation.out / PICTURE_NAME)
        save_figure(_convergence(done), ablation.out / CONVERGENCE_NAME)


def _overview(ablation: Ablation, rows: Sequence[Row]) -> Figure:
    """Pictures of each variant's first seed above, differences of all seeds below."""
    first = {row.run.variant: row for row in reversed(rows)}
    shown = [first[variant] for variant in summaries(rows)]
    columns = _measured_columns(rows)
    compared = BASELINE in first and len(shown) > 1 and bool(columns)
    height = 1.3 * 3 + 0.5
    below = 0.22 * len(shown) + 0.9 if compared else 0.0
    width = max(1.3 * (len(shown) + 1), 1.25 * len(columns) + 1.4 if compared else 0.0)
    figure = Figure(figsize=(width, height + below), layout="constrained")
    parts = figure.subfigures(2 if compared else 1, 1, squeeze=False,
                              height_ratios=[height, below] if compared else None)  # fmt: skip
    _draw_frames(parts[0, 0], ablation, shown)
    if compared:
        _draw_differences(parts[1, 0], rows, columns)
    return figure


def _draw_frames(part: SubFigure, ablation: Ablation, rows: Sequence[Row]) -> None:
    """Truth and renderings of one held-out frame, whole and enlarged."""
    frame, position = _chosen_frame(ablation)
    views = _views(np.asarray(ablation.clip.labels[frame]))
    pictures = [("truth", np.asarray(ablation.clip.frames[frame]))]
    pictures += [(row.run.variant, _rendering(row, position, len(pictures[0][1]))) for row in rows]
    grid = part.subplots(len(views), len(pictures), squeeze=False)
    for line, view in zip(grid, views, strict=True):
        x0, y0, x1, y1 = view.box
        for axes, (name, picture) in zip(line, pictures, strict=True):
            axes.imshow(picture[y0:y1, x0:x1], interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=FRAME_GRAY)
            if view is views[0]:
                axes.set_title(name, loc="center")
        line[0].set_ylabel(view.name)
    seed = rows[0].run.seed
    part.suptitle(f"Held-out frame {frame}, seed {seed}", x=0.01, ha="left", fontsize=8)


def _chosen_frame(ablation: Ablation) -> tuple[int, int]:
    """Return the frame to show, and where in sheet.png it lies: `evaluate` rendered it already."""
    frames = sheet_frames(ablation.measured_frames())
    position = len(frames) // 2
    return frames[position], position


def _rendering(row: Row, position: int, height: int) -> Picture:
    """Cut the rendering out of the run's sheet: columns truth, rendering, labels."""
    with Image.open(row.run.folder / EVALUATION_FOLDER / SHEET_NAME) as file:
        sheet = np.asarray(file.convert("RGB"))
    width = sheet.shape[1] // 3
    return sheet[position * height : (position + 1) * height, width : 2 * width]


def _views(labels: NDArray[np.uint8]) -> list[_View]:
    """Choose what is enlarged: the mouth, and the neck where head and body meet."""
    height, width = labels.shape
    views = [_View("frame", (0, 0, width, height))]
    mouth = mouth_box(labels)
    if mouth is not None:
        x0, y0, x1, y1 = mouth
        room = MOUTH_ROOM * max(x1 - x0, y1 - y0)
        views.append(_View("mouth", _square((x0 + x1) / 2, (y0 + y1) / 2, room, labels.shape)))
    rows, columns = np.nonzero(head_border(labels))
    if len(rows):
        room = float(max(np.ptp(rows), np.ptp(columns)))
        center = float(np.median(columns)), float(np.median(rows))
        views.append(_View("neck border", _square(*center, room, labels.shape)))
    return views


def _square(x: float, y: float, side: float, shape: tuple[int, ...]) -> Box:
    """Return a square box around a point, inside the picture, neither tiny nor the whole of it."""
    height, width = shape
    small = min(height, width)
    length = round(min(max(side, ZOOM_SHARE * small), 0.6 * small))
    x0 = min(max(0, round(x - length / 2)), width - length)
    y0 = min(max(0, round(y - length / 2)), height - length)
    return x0, y0, x0 + length, y0 + length


def _measured_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the measures of quality that the baseline and another variant have."""
    found = summaries(rows)
    if BASELINE not in found:
        return []
    return [
        column
        for column in COLUMNS
        if column.better
        and found[BASELINE][column.key].mean is not None
        and any(found[v][column.key].mean is not None for v in found if v != BASELINE)
    ]


def _draw_differences(part: SubFigure, rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """One small plot a measure: bars of each variant's mean against the baseline's, dots: seeds."""
    found = summaries(rows)
    variants = [name for name in found if name != BASELINE]
    grid = part.subplots(1, len(columns), squeeze=False, sharey=True)
    for axes, column in zip(grid[0], columns, strict=True):
        zero = found[BASELINE][column.key].mean or 0.0
        _dots(axes, [BASELINE, *variants], rows, column, zero)
        for line, variant in enumerate([BASELINE, *variants]):
            mean = found[variant][column.key].mean
            color = _color([BASELINE, *variants], variant)
            if mean is None:
                axes.text(0, line, " none", va="center", color=GRAY)
            else:
                axes.barh(line, mean - zero, height=0.55, color=color, alpha=0.55, zorder=1)
        axes.axvline(0, color="black", linewidth=0.8)
        unit = f", {column.unit}" if column.unit else ""
        axes.set_title(f"{column.title}{unit}\n({column.better} is better)", fontsize=6.5)
        axes.tick_params(axis="x", labelsize=6)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=4)
    grid[0][0].set_yticks(range(len(variants) + 1), [BASELINE, *variants])
    grid[0][0].invert_yaxis()
    part.suptitle(
        f"Difference from the mean of {BASELINE}; bars: mean over seeds, dots: seeds",
        x=0.01, ha="left", fontsize=8,
    )  # fmt: skip


def _dots(
    axes: Axes, variants: Sequence[str], rows: Sequence[Row], column: Column, zero: float
) -> None:
    """Draw each seed's value as a dot on its variant's line."""
    for row in rows:
        value = row.measures.get(column.key)
        if value is not None:
            line, color = variants.index(row.run.variant), _color(variants, row.run.variant)
            axes.plot(value - zero, line, "o", markersize=3.5, color=color, zorder=2,
                      markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip


def _color(variants: Sequence[str], variant: str) -> str:
    return SERIES_COLORS[variants.index(variant) % len(SERIES_COLORS)]


def _convergence(rows: Sequence[Row]) -> Figure:
    """PSNR of the training rays against steps, one line a run, one color a variant."""
    variants = list(dict.fromkeys(row.run.variant for row in rows))
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        lines = (row.run.folder / METRICS_NAME).read_text(encoding="utf-8").splitlines()
        reports = [json.loads(line) for line in lines]
        steps = [report["step"] for report in reports]
        smooth = running_mean([report["psnr"] for report in reports], SMOOTH_REPORTS)
        axes.plot(steps, smooth, color=_color(variants, row.run.variant), linewidth=1.1)
    named = [Line2D([], [], color=_color(variants, v), label=v) for v in variants]
    axes.legend(handles=named, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_title("Training; rays that are drawn otherwise (sampling) are not the same task")
    axes.set_xlabel("step")
    axes.set_ylabel(f"PSNR of training rays, dB\n(mean of the last {SMOOTH_REPORTS} reports)")
    axes.grid(color=FRAME_GRAY, linewidth=0.3)
    return figure


def running_mean(values: Sequence[float], length: int) -> NDArray[np.float64]:
    """Average each value with those before it, `length` at most.

    Example:
        >>> running_mean([1.0, 3.0, 5.0, 7.0], 2)
        array([1., 2., 4., 6.])
    """
    total = np.concatenate(([0.0], np.cumsum(np.asarray(values, dtype=np.float64))))
    ends = np.arange(1, len(total))
    starts = np.maximum(0, ends - length)
    return (total[ends] - total[starts]) / (ends - starts)
