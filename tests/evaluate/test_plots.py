"""The plot of the ray schedule, read back as pixels."""

import json

import numpy as np
from PIL import Image

from sspnerf.data.semantics import PALETTE, SEMANTIC_CLASSES, SemanticClass
from sspnerf.evaluate.plots import plot_ray_schedule


def write_metrics(path, rays):
    lines = [{"step": 50 * i, **({"class_rays": r} if r else {})} for i, r in enumerate(rays)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def share_of(picture, label):
    """How much of the picture has the class's color."""
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    return (np.abs(pixels - PALETTE[label]).max(axis=-1) <= 2).mean()


def rays(**of):
    return [of.get(label.name.lower(), 0) for label in SemanticClass]


def test_each_class_covers_as_much_of_the_plot_as_it_has_rays(tmp_path):
    metrics = write_metrics(tmp_path / "metrics.jsonl", [rays(lip=300, torso=100)] * 3)
    plot_ray_schedule(metrics, tmp_path / "rays.png")
    lip, torso = (share_of(tmp_path / "rays.png", k) for k in (7, 9))
    assert 2.6 < lip / torso < 3.4
    assert sorted(tmp_path.iterdir()) == [metrics, tmp_path / "rays.png"]


def test_lines_that_say_nothing_are_left_out(tmp_path):
    full = write_metrics(tmp_path / "full.jsonl", [rays(hair=9), rays(hair=9)])
    gaps = write_metrics(tmp_path / "gaps.jsonl", [rays(hair=9), rays(hair=9), None])
    for metrics in (full, gaps):
        plot_ray_schedule(metrics, metrics.with_suffix(".png"))
    assert (tmp_path / "full.png").read_bytes() == (tmp_path / "gaps.png").read_bytes()


def test_a_run_that_says_nothing_has_no_plot(tmp_path):
    plot_ray_schedule(
        write_metrics(tmp_path / "metrics.jsonl", [None, None]), tmp_path / "rays.png"
    )
    assert not (tmp_path / "rays.png").exists()


def test_one_report_is_enough(tmp_path):
    metrics = write_metrics(tmp_path / "metrics.jsonl", [[5] * SEMANTIC_CLASSES])
    plot_ray_schedule(metrics, tmp_path / "rays.png")
    assert (tmp_path / "rays.png").is_file()
