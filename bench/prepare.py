"""How long `sspnerf prepare` takes, how much memory it holds, and how well it tracks.

    python -m bench.prepare VIDEO... --size 512

Each video is prepared by a program of its own in a temporary folder. Times are shares of the
video's length; figures of quality are what the stages note in clip.json.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.watching import Watched, module, run_and_watch
from sspnerf.data.clip import Clip, open_clip


def figures(clip: Clip, watched: Watched) -> dict[str, Any]:
    """Put together what one run has shown."""
    manifest, stages = clip.manifest, clip.manifest.stages
    length_s = manifest.frames / manifest.frame_rate_hz
    return {
        "source": manifest.source,
        "size": manifest.width,
        "length_s": length_s,
        **watched._asdict(),
        "share_of_length": watched.seconds / length_s,
        "stage_seconds": {name: record.seconds for name, record in stages.items()},
        "reprojection_px": stages["tracking"].found["reprojection_px"],
        "torso_confidence": stages["torso"].found["mean_confidence"],
        **stages["checks"].found,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """Lay the figures out."""
    shown = Table(title=f"sspnerf prepare, {os.cpu_count()} cores")
    columns = ("source", "size", "length", "time / length", "processor / length", "peak, own MB",
               "reprojection px", "steadier turn, depth", "lag", "torso", "flicker")  # fmt: skip
    for column in columns:
        shown.add_column(column, justify="left" if column == "source" else "right")
    for row in rows:
        shown.add_row(
            row["source"], str(row["size"]), f"{row['length_s']:.1f} s",
            f"{row['share_of_length']:.2f}",
            f"{row['processor_seconds'] / row['length_s']:.2f}",
            f"{row['peak_mb']:.0f}, {row['peak_own_mb']:.0f}",
            f"{row['reprojection_px']:.2f}",
            f"{row['steadier_rotation'] or 0:.1f}x, {row['steadier_depth'] or 0:.1f}x",
            f"{row['lag_frames'] or 0:+.2f}", f"{row['torso_confidence']:.2f}",
            f"{100 * (row['flicker'] or 0):.1f} %",
        )  # fmt: skip
    return shown


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("videos", nargs="+", type=Path)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    rows = []
    for video in chosen.videos:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip"
            watched = run_and_watch(
                module("sspnerf", "prepare", video, path, "--size", chosen.size)
            )
            rows.append(figures(open_clip(path), watched))
    if chosen.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        Console(width=150).print(table(rows))


if __name__ == "__main__":
    main()
