"""Plots in one style: no global state, no window, colors that colour-blind people tell apart."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sspnerf.data.semantics import CLASS_NAMES, PALETTE, SEMANTIC_CLASSES

# Okabe and Ito's hues; black stands for what the others are compared with.
SERIES_COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GRAY, FRAME_GRAY = "#595959", "#bfbfbf"
DPI = 150
_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.edgecolor": FRAME_GRAY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "legend.frameon": False,
}


@contextlib.contextmanager
def plot_style() -> Iterator[None]:
    """Draw in this module's style inside the block; a caller's own style is left alone."""
    with rc_context(_STYLE):
        yield


def save_figure(figure: Figure, picture: Path) -> None:
    """Write a figure as PNG, whole or not at all, whatever backend matplotlib is set to."""
    FigureCanvasAgg(figure)
    partial = picture.with_name(f".{picture.name}.partial")
    figure.savefig(partial, format="png", dpi=DPI)
    partial.replace(picture)


def plot_ray_schedule(metrics_file: Path, picture: Path) -> None:
    """Draw the sampling at work: how many rays each class gets, over the steps.

    The paper's N_k, stacked, so that the height is all rays of a step. Lines that
    say nothing about it are left out; if none does, nothing is written.

    Args:
        metrics_file: A run's metrics.jsonl; key `class_rays`: rays of each class in that step.
        picture: The PNG to write; an existing one is replaced.

    Source: the bar chart of classes in the pipeline figure of Liu et al. 2022 (arXiv:2201.07786).
    """
    lines = map(json.loads, metrics_file.read_text(encoding="utf-8").splitlines())
    known = [line for line in lines if line.get("class_rays")]
    if not known:
        return
    steps = [line["step"] for line in known]
    rays = np.array([line["class_rays"] for line in known], dtype=np.float64).T
    with plot_style():
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axes = figure.add_subplot()
        _stack(axes, steps, rays)
        axes.set_title("Rays of one step, by class")
        axes.set_xlabel("step")
        axes.set_ylabel("rays")
        save_figure(figure, picture)


def _stack(axes: Axes, steps: Sequence[int], rays: NDArray[np.float64]) -> None:
    """Stack the classes' rays; the legend lists them in the order of the stack."""
    colors = PALETTE / 255
    below = np.zeros(rays.shape[1])
    for index in range(SEMANTIC_CLASSES):
        name, above = CLASS_NAMES[index].replace("_", " "), below + rays[index]
        # A hairline between classes keeps neighbours of like lightness apart.
        axes.fill_between(
            steps, below, above, color=colors[index], label=name, linewidth=0.4, edgecolor=GRAY
        )
        below = above
    axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    axes.set_ylim(0, max(1.0, float(below.max())))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
