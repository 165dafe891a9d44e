"""Plots of the report: inline SVG, one style, time along the bottom of all of them."""

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from sspnerf.data.semantics import CLASS_NAMES, PALETTE
from sspnerf.evaluate.plots import FRAME_GRAY, GRAY, SERIES_COLORS, plot_style

# Points of a curve; a long clip is thinned out.
MOST_POINTS = 1500
# Stretches that are marked in one plot.
MOST_MARKS = 200
WIDTH, LEFT, RIGHT = 9.6, 0.085, 0.86
BLUE, ORANGE, GREEN, PINK = (SERIES_COLORS[place] for place in (1, 2, 3, 4))
LOST_COLOR, REMARK_COLOR = "#e4e4e4", "#f6d9c2"
_SVG: Any = {"svg.fonttype": "none"}


class TimeAxis(NamedTuple):
    """What all plots over time share."""

    frame_rate_hz: float
    frames: int
    cuts: tuple[int, ...] = ()
    lost: tuple[range, ...] = ()
    """Frames without a face."""
    first: int = 0
    """Frame at the left edge; `frames` is at the right one."""


class Curve(NamedTuple):
    """One line of a plot."""

    name: str
    values: NDArray[np.float64]
    color: str
    frames: NDArray[np.integer] | NDArray[np.floating] | None = None
    """Of which frames the values are; None: all. Shape (values,)."""
    pale: bool = False
    """Whether it is drawn behind, as what others are compared with."""
    keep_peaks: bool = False
    """Whether the largest of values counts where there are too many, not one of them."""


class Panel(NamedTuple):
    """One plot over time."""

    label: str
    """What the axis counts, with its unit."""
    curves: Sequence[Curve]
    marked: tuple[range, ...] = ()
    """Frames with a remark."""
    lowest: float | None = None
    highest: float | None = None
    height: float = 1.25
    """Inches."""


def time_plot(panels: Sequence[Panel], axis: TimeAxis, *, title: str) -> str:
    """Draw plots under each other over the same time.

    Args:
        panels: From the top.
        axis: What the time is.
        title: What is seen, for those who cannot see it.

    Returns:
        SVG, to be put into a page.
    """
    with plot_style(), rc_context(_SVG):
        room = 0.42
        total = sum(panel.height for panel in panels) + 0.12 * len(panels) + room
        figure = Figure(figsize=(WIDTH, total))
        top = total - 0.08
        for place, panel in enumerate(panels):
            bottom = top - panel.height
            box = (LEFT, bottom / total, RIGHT - LEFT, panel.height / total)
            _draw_panel(figure.add_axes(box), panel, axis, last=place == len(panels) - 1)
            top = bottom - 0.12
        return to_svg(figure, title)


def _draw_panel(axes: Axes, panel: Panel, axis: TimeAxis, *, last: bool) -> None:
    _draw_time(axes, axis, last=last)
    _mark(axes, panel.marked, axis, REMARK_COLOR)
    for curve in panel.curves:
        frames = np.arange(len(curve.values)) if curve.frames is None else curve.frames
        seconds, values = thin(
            (np.asarray(frames, np.float64) + 0.5) / axis.frame_rate_hz,
            curve.values,
            keep_peaks=curve.keep_peaks,
        )
        axes.plot(
            seconds, values, color=curve.color, label=curve.name,
            linewidth=0.7 if curve.pale else 1.0, alpha=0.4 if curve.pale else 1.0,
            zorder=2 if curve.pale else 3,
        )  # fmt: skip
    axes.set_ylabel(panel.label)
    axes.yaxis.set_label_coords(-0.065, 0.5)
    axes.grid(axis="y", color=FRAME_GRAY, linewidth=0.3)
    axes.set_ylim(panel.lowest, panel.highest)
    axes.locator_params(axis="y", nbins=3 if panel.height < 1 else 5)
    if any(curve.name for curve in panel.curves):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, handlelength=1.2)


def _draw_time(axes: Axes, axis: TimeAxis, *, last: bool) -> None:
    """Set up the time, and mark cuts and frames without a face."""
    seconds = axis.frames / axis.frame_rate_hz
    axes.set_xlim(axis.first / axis.frame_rate_hz, seconds)
    if last:
        axes.locator_params(axis="x", nbins=12)
        axes.set_xlabel("time, s" if seconds < 120 else "time, min:s")
        if seconds >= 120:
            axes.xaxis.set_major_formatter(
                FuncFormatter(lambda second, _: f"{round(second) // 60}:{round(second) % 60:02d}")
            )
    else:
        axes.xaxis.set_visible(False)
    _mark(axes, axis.lost, axis, LOST_COLOR)
    for cut in axis.cuts[:MOST_MARKS]:
        axes.axvline(cut / axis.frame_rate_hz, color=GRAY, linewidth=0.8, linestyle=(0, (2, 2)))


def _mark(axes: Axes, stretches: Sequence[range], axis: TimeAxis, color: str) -> None:
    # A single frame of a long clip would be too narrow to be seen.
    least = 0.003 * axis.frames / axis.frame_rate_hz
    for part in stretches[:MOST_MARKS]:
        first, stop = part.start / axis.frame_rate_hz, part.stop / axis.frame_rate_hz
        axes.axvspan(first, max(stop, first + least), color=color, linewidth=0, zorder=0)


def timeline(rows: Sequence[tuple[str, tuple[range, ...]]], axis: TimeAxis) -> str:
    """Draw when each of several things is so.

    Args:
        rows: What, and in which frames; from the top.
        axis: What the time is.
    """
    with plot_style(), rc_context(_SVG):
        height = 0.24 * len(rows) + 0.5
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.25, 0.42 / height, RIGHT - 0.18, (height - 0.5) / height))
        _draw_time(axes, axis._replace(lost=()), last=True)
        least = 0.004 * axis.frames
        for row, (_, stretches) in enumerate(rows):
            bars = [
                (part.start / axis.frame_rate_hz, max(len(part), least) / axis.frame_rate_hz)
                for part in stretches[:MOST_MARKS]
            ]
            axes.broken_barh(bars, (row - 0.3, 0.6), color=ORANGE, linewidth=0)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        return to_svg(figure, "When each remark holds")


def label_plot(frames: NDArray[np.int64], areas: NDArray[np.float64], axis: TimeAxis) -> str:
    """Stack the classes' shares of the picture over time, without the background.

    Args:
        frames: Of which frames the areas are. Shape (samples,).
        areas: Shares. Shape (samples, 11).
        axis: What the time is.
    """
    with plot_style(), rc_context(_SVG):
        figure = Figure(figsize=(WIDTH, 2.6))
        axes = figure.add_axes((LEFT, 0.16, RIGHT - LEFT, 0.81))
        _draw_time(axes, axis, last=True)
        seconds = (frames + 0.5) / axis.frame_rate_hz
        below = np.zeros(len(frames))
        for place in range(1, len(CLASS_NAMES)):
            above = below + 100 * areas[:, place]
            axes.fill_between(
                seconds, below, above, color=PALETTE[place] / 255, linewidth=0.3,
                edgecolor=GRAY, label=CLASS_NAMES[place].replace("_", " "),
            )  # fmt: skip
            below = above
        axes.set_ylim(0, max(1.0, 1.04 * float(below.max(initial=0.0))))
        axes.set_ylabel("% of the picture")
        axes.yaxis.set_label_coords(-0.065, 0.5)
        axes.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True, fontsize=7, handlelength=1.2
        )
        return to_svg(figure, "Areas of the labels over time")


def bar_plot(names: Sequence[str], values: Sequence[float], *, unit: str, title: str) -> str:
    """Draw bars with their values beside them.

    Args:
        names: From the top.
        values: One each, >= 0.
        unit: Of the values.
        title: What is seen, for those who cannot see it.
    """
    with plot_style(), rc_context(_SVG):
        height = 0.2 * len(names) + 0.12
        figure = Figure(figsize=(WIDTH / 1.6, height))
        axes = figure.add_axes((0.2, 0.06 / height, 0.68, 1 - 0.12 / height))
        axes.barh(range(len(names)), values, height=0.6, color=BLUE)
        for row, value in enumerate(values):
            axes.text(value, row, f"  {value:.1f} {unit}", va="center", fontsize=7)
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, max(*values, 1e-6, 0.0) * 1.05)
        return to_svg(figure, title)


def lag_plot(lags_s: NDArray[np.float64], correlation: NDArray[np.float64]) -> str:
    """Draw how well lips and sound agree at each offset.

    Args:
        lags_s: Offsets, s; positive: the sound is late. Shape (lags,).
        correlation: Pearson's r. Shape (lags,).
    """
    with plot_style(), rc_context(_SVG):
        figure = Figure(figsize=(WIDTH / 1.6, 1.7))
        axes = figure.add_axes((0.12, 0.25, 0.85, 0.7))
        axes.axhline(0, color=FRAME_GRAY, linewidth=0.6)
        axes.plot(lags_s, correlation, color=BLUE, linewidth=1.1)
        axes.axvline(float(lags_s[correlation.argmax()]), color=ORANGE, linewidth=1.0)
        axes.set_xlim(float(lags_s[0]), float(lags_s[-1]))
        axes.set_xlabel("offset of the sound, s (positive: late)")
        axes.set_ylabel("correlation")
        return to_svg(figure, "Correlation of lips and sound over their offset")


def thin(
    seconds: NDArray[np.float64], values: NDArray[np.float64], *, keep_peaks: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out points of a long curve.

    Args:
        seconds: Shape (points,).
        values: Shape (points,).
        keep_peaks: Whether the largest of neighbours stays, not the first.

    Returns:
        At most `MOST_POINTS` of both. Shape (kept,).
    """
    step = -(-len(values) // MOST_POINTS)
    if step <= 1:
        return seconds, values
    starts = np.arange(0, len(values), step)
    kept = np.fmax.reduceat(values, starts) if keep_peaks else values[starts]
    return seconds[starts], kept


def to_svg(figure: Figure, title: str) -> str:
    """Write a figure as a part of a page: without addresses, fonts or names that others have.

    Args:
        figure: Any; whatever backend matplotlib is set to.
        title: What is seen, for those who cannot see it; plain text.
    """
    FigureCanvasSVG(figure)
    written = io.StringIO()
    # Names inside a page must differ from plot to plot.
    with rc_context({"svg.hashsalt": title}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    for unneeded in (
        r"<metadata>.*?</metadata>\s*",
        r"<style[^>]*>.*?</style>\s*",
        r"<!--.*?-->\s*",
    ):
        text = re.sub(unneeded, "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    # The page's own font.
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r'\b(d|x|y|transform|points)="[^"]*"', _rounded, text)
    width, height = (72 * side for side in figure.get_size_inches())
    opening = (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{1.4 * width:.0f}px" '
        f'role="img" aria-label="{title}">'
    )
    return re.sub(r"<svg[^>]*>", opening, text, count=1).strip()


def _rounded(attribute: re.Match[str]) -> str:
    """Write places with a tenth of a point: a third of the length."""
    return re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", attribute[0])
