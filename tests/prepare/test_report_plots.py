"""Plots: what is drawn is what was given, and stays small."""

import re

import numpy as np
import pytest

from prepare.pages import Page
from sspnerf.prepare.report_plots import (
    MOST_POINTS,
    Curve,
    Panel,
    TimeAxis,
    bar_plot,
    label_plot,
    lag_plot,
    thin,
    time_plot,
    timeline,
)

AXIS = TimeAxis(25.0, 500)


def path_ends(svg, color):
    """Points of the widest curve of one color, px; that in the legend is short."""
    paths = re.findall(rf'<path d="([^"]*)"[^>]*stroke: {color}', svg)
    read = [re.findall(r"-?\d+(?:\.\d+)?", path) for path in paths]
    points = [np.array(numbers, dtype=float).reshape(-1, 2) for numbers in read]
    return max(points, key=lambda found: np.ptp(found, axis=0).max())


def test_a_curve_rises_from_left_to_right():
    panel = Panel("cm", [Curve("up", np.linspace(0, 1, 500), "#0072b2")])
    points = path_ends(time_plot([panel], AXIS, title="t"), "#0072b2")
    assert points[-1, 0] > points[0, 0] + 400
    # Down the page is down in value.
    assert points[-1, 1] < points[0, 1] - 50


def test_gaps_stay_gaps():
    values = np.ones(500)
    values[200:300] = np.nan
    svg = time_plot([Panel("px", [Curve("", values, "#0072b2")])], AXIS, title="t")
    path = max(re.findall(r'<path d="([^"]*)"[^>]*stroke: #0072b2', svg), key=len)
    assert path.count("M") == 2


def test_long_curves_are_thinned_and_peaks_stay():
    values = np.zeros(18000)
    values[7777] = 5
    seconds = np.arange(18000) / 30
    times, kept = thin(seconds, values, keep_peaks=True)
    assert len(times) == len(kept) == MOST_POINTS
    assert kept.max() == 5
    assert times[kept.argmax()] == pytest.approx(7777 / 30, abs=12 / 30)
    assert len(thin(seconds[:1500], values[:1500])[0]) == 1500
    values[7778] = np.nan
    assert np.nanmax(thin(seconds, values, keep_peaks=True)[1]) == 5


def test_a_page_of_ten_minutes_stays_small():
    random = np.random.default_rng(0)
    axis = TimeAxis(30.0, 18000, lost=tuple(range(k, k + 2) for k in range(0, 18000, 9)))
    curves = [Curve(name, random.normal(size=18000), "#0072b2") for name in "abc"]
    svg = time_plot([Panel("°", curves), Panel("cm", curves)], axis, title="t")
    assert len(svg) < 300_000
    assert "10:00" in svg


@pytest.mark.parametrize("frames", [1, 2, 3, 500])
def test_short_clips_are_drawn_too(frames):
    axis = TimeAxis(25.0, frames)
    values = np.zeros(frames)
    Page(time_plot([Panel("cm", [Curve("x", values, "#0072b2")])], axis, title="t"))
    areas = np.full((frames, 11), 1 / 11)
    page = Page(label_plot(np.arange(frames), areas, axis))
    assert "mouth interior" in page.text
    assert "background" not in page.text


def test_the_timeline_names_what_is_when():
    svg = timeline([("silence", (range(100, 200),)), ("no face", (range(3, 4),))], AXIS)
    page = Page(svg)
    assert "silence" in page.text
    assert "no face" in page.text


def test_small_plots_are_whole():
    page = Page(bar_plot(["decode", "torso"], [1.25, 0.0], unit="s", title="times"))
    assert "decode" in page.text
    assert "1.2 s" in page.text
    lags = np.linspace(-0.5, 0.5, 101)
    points = path_ends(lag_plot(lags, np.exp(-((lags - 0.2) ** 2) / 0.01)), "#d55e00")
    width = 432
    assert points[0, 0] == pytest.approx(width * (0.12 + 0.85 * 0.7), abs=2)


def test_plots_leave_matplotlib_as_it_was():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    time_plot([Panel("cm", [Curve("x", np.zeros(500), "#0072b2")])], AXIS, title="t")
    assert dict(mpl.rcParams) == before
