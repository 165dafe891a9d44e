"""The table, from measures that the test chooses."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from sspnerf.ablate.runs import Ablation, Run
from sspnerf.ablate.table import (
    COLUMNS,
    Row,
    as_markdown,
    as_rich_table,
    summaries,
    summarise,
    write_tables,
)
from sspnerf.ablate.variants import VARIANTS
from sspnerf.config import PRESETS


def row(variant, seed, error=None, **measures):
    empty = {column.key: None for column in COLUMNS} | {"landmarks_missing": None}
    run = Run(variant, seed, PRESETS["fast"], Path("out") / f"{variant}-{seed}")
    return Row(run, {} if error else empty | measures, error)


ROWS = (
    row("full", 0, psnr=30.0, mean_iou=0.9, steps=100, seconds=10.0),
    row("no-parsing", 0, psnr=28.0, steps=100, seconds=9.0),
    row("full", 1, psnr=31.0, mean_iou=0.8, steps=100, seconds=14.0),
    row("no-parsing", 1, error="error: no memory left"),
)


def test_two_seeds_have_half_their_range_and_more_their_deviation():
    assert summarise([30.0, 31.0]) == (30.5, 0.5)
    assert summarise([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt((4 + 1 + 9) / 2)))
    assert summarise([30.0]) == (30.0, None)


def test_what_a_seed_could_not_measure_is_no_zero():
    assert summarise([None, 4.0]) == (4.0, None)
    assert summarise([None, None]) == (None, None)


def test_seeds_are_summed_up_by_variant_and_failures_left_out():
    found = summaries(ROWS)
    assert list(found) == ["full", "no-parsing"]
    assert found["full"]["psnr"] == (30.5, 0.5)
    assert found["full"]["mean_iou"] == (pytest.approx(0.85), pytest.approx(0.05))
    assert found["no-parsing"]["psnr"] == (28.0, None)
    assert found["no-parsing"]["mean_iou"] == (None, None)


def test_the_page_shows_means_spreads_and_what_failed():
    lines = as_markdown(ROWS).splitlines()
    assert "| full | 30.50 ±0.50 | - | - | - | 0.850 ±0.050 | - | - | 100 | 12 ±2 |" in lines
    assert "| no-parsing | 28.00 | - | - | - | - | - | - | 100 | 9 |" in lines
    assert lines[-1] == "- no-parsing-1 failed: error: no memory left"
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {len(COLUMNS) + 2}


def test_the_reason_for_a_missing_landmark_distance_is_told_once():
    rows = [row("full", seed, landmarks_missing="mediapipe is not installed") for seed in (0, 1)]
    told = "No landmark distance: mediapipe is not installed."
    assert as_markdown(rows).count(told) == 1


def test_nothing_is_cut_off_on_eighty_characters():
    measures = {column.key: 10.0 for column in COLUMNS} | {"mean_iou": 0.5, "mouth_agreement": 0.5}
    rows = [
        row(variant, seed, **(measures | {"landmark_distance": 1.0 + seed, "steps": 99_999}))
        for variant in VARIANTS
        for seed in (0, 1)
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(as_rich_table(rows))
    shown = console.export_text()
    assert "…" not in shown
    assert "no-torso-deformation" in shown
    assert "99999" in shown


def test_the_json_says_what_each_run_and_each_variant_measured(tiny_clip, tmp_path):
    ablation = Ablation(tiny_clip, tmp_path, tuple(r.run for r in ROWS), landmarks=False)
    write_tables(ablation, ROWS)
    told = json.loads((tmp_path / "ablation.json").read_text())
    assert (told["schema_version"], told["baseline"]) == (1, "full")
    assert (told["width"], told["height"]) == (48, 48)
    assert [(run["run"], run["error"]) for run in told["runs"]] == [
        ("full-0", None),
        ("no-parsing-0", None),
        ("full-1", None),
        ("no-parsing-1", "error: no memory left"),
    ]
    assert told["runs"][2]["psnr"] == 31.0
    assert told["variants"]["full"]["psnr"] == {"mean": 30.5, "spread": 0.5}
    assert told["variants"]["no-parsing"]["mean_iou"] == {"mean": None, "spread": None}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ablation.json", "ablation.md"]
