"""The figures of an ablation: read from its runs, summed up over seeds, and written down.

Written are ablation.json (for programs; schema in docs/ablate.md) and ablation.md; the same table
is printed.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich import box
from rich.table import Table

from sspnerf.ablate.runs import Ablation, Run
from sspnerf.ablate.variants import BASELINE
from sspnerf.errors import SspnerfError
from sspnerf.evaluate.held_out import EVALUATION_FOLDER, SCORES_NAME
from sspnerf.train.trainer import METRICS_NAME

ABLATION_SCHEMA_VERSION = 1
JSON_NAME, MARKDOWN_NAME = "ablation.json", "ablation.md"
NOTE = (
    "Held-out frames, full portrait. dB, IoU, r: higher is better; px: lower is better. "
    "LMD: landmark distance of the lips; mouth opens: mouth agreement. "
    "± over seeds: half the range of two, the standard deviation of more."
)


class Column(NamedTuple):
    """One measure."""

    key: str
    """Its name in metrics.json, metrics.jsonl and ablation.json."""
    title: str
    short: str
    """Heading on a terminal, where ten columns share 80 characters."""
    unit: str
    decimals: int
    better: Literal["higher", "lower"] | None
    """Direction; None: it is no measure of quality."""


COLUMNS = (
    Column("psnr", "full portrait", "full\nportr.", "dB", 2, "higher"),
    Column("psnr_lips", "lips + teeth", "lips +\nteeth", "dB", 2, "higher"),
    Column("psnr_torso", "neck + torso", "neck +\ntorso", "dB", 2, "higher"),
    Column("psnr_border", "border", "border", "dB", 2, "higher"),
    Column("mean_iou", "mean IoU", "mean\nIoU", "", 3, "higher"),
    Column("landmark_distance", "landmark distance", "LMD", "px", 2, "lower"),
    Column("mouth_agreement", "mouth agreement", "mouth\nopens", "r", 2, "higher"),
    Column("steps", "steps", "steps", "", 0, None),
    Column("seconds", "training", "train", "s", 0, None),
)

Measures = Mapping[str, Any]


class Summary(NamedTuple):
    """One measure of one variant over its seeds."""

    mean: float | None
    """None if no seed could measure it."""
    spread: float | None
    """Half the range of two values, the standard deviation of more; None of fewer."""


class Row(NamedTuple):
    """One run and what was measured of it."""

    run: Run
    measures: Measures
    """`Scores` and steps and seconds of training; empty if the run failed."""
    error: str | None


def read_rows(ablation: Ablation, failed: Mapping[str, str]) -> tuple[Row, ...]:
    """Read the measures of every run that did not fail."""
    return tuple(
        Row(run, {}, failed[run.name])
        if run.name in failed
        else Row(run, _read_measures(run.folder), None)
        for run in ablation.runs
    )


def _read_measures(folder: Path) -> Measures:
    """Read what `evaluate` and `train` wrote.

    Raises:
        SspnerfError: If a file is missing or damaged.
    """
    try:
        scores = (folder / EVALUATION_FOLDER / SCORES_NAME).read_text(encoding="utf-8")
        last = (folder / METRICS_NAME).read_text(encoding="utf-8").splitlines()[-1]
        trained = json.loads(last)
        return {
            **json.loads(scores),
            "steps": trained["step"],
            "seconds": trained["seconds"],
        }
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SspnerfError(
            f"{folder}: what was measured cannot be read: {error}", "remove the folder, run again"
        ) from error


def summarise(values: Iterable[float | None]) -> Summary:
    """Sum up one measure over seeds; seeds that could not measure it are left out.

    Example:
        >>> summarise([30.0, 31.0])
        Summary(mean=30.5, spread=0.5)
        >>> summarise([30.0, 31.0, None, 32.0])
        Summary(mean=31.0, spread=1.0)
        >>> summarise([None])
        Summary(mean=None, spread=None)
    """
    known = [value for value in values if value is not None]
    if not known:
        return Summary(None, None)
    mean = statistics.fmean(known)
    if len(known) == 1:
        return Summary(mean, None)
    two = len(known) == 2
    return Summary(mean, abs(known[0] - known[1]) / 2 if two else statistics.stdev(known))


def summaries(rows: Sequence[Row]) -> dict[str, dict[str, Summary]]:
    """Sum up every measure of every variant that has a run; by variant and column key."""
    variants = dict.fromkeys(row.run.variant for row in rows if not row.error)
    return {
        variant: {
            column.key: summarise(
                row.measures.get(column.key)
                for row in rows
                if row.run.variant == variant and not row.error
            )
            for column in COLUMNS
        }
        for variant in variants
    }


def show(summary: Summary, column: Column, *, between: str = " ") -> str:
    """Write a summary as people read it: mean ± spread, or - where nothing was measured.

    Example:
        >>> show(Summary(30.5, 0.123), COLUMNS[0])
        '30.50 ±0.12'
    """
    if summary.mean is None:
        return "-"
    mean = f"{summary.mean:.{column.decimals}f}"
    # That all seeds trained for equally many steps goes without saying.
    if summary.spread is None or (column.better is None and not summary.spread):
        return mean
    return f"{mean}{between}±{summary.spread:.{column.decimals}f}"


def as_rich_table(rows: Sequence[Row]) -> Table:
    """Lay out the table for a terminal of 80 characters, each spread below its mean."""
    table = Table(
        title="Ablation",
        caption=f"{NOTE} {_missing(rows)}".strip(),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("variant", no_wrap=True)
    for column in COLUMNS:
        heading = f"{column.short}\n{column.unit}".rstrip()
        table.add_column(heading, justify="right", no_wrap=True)
    for variant, found in summaries(rows).items():
        cells = (show(found[column.key], column, between="\n") for column in COLUMNS)
        table.add_row(variant, *cells)
    return table


def as_markdown(rows: Sequence[Row]) -> str:
    """Lay out the table for a page."""
    lines = [
        f"| variant | {' | '.join(map(_heading, COLUMNS))} |",
        f"|---|{'---:|' * len(COLUMNS)}",
    ]
    for variant, found in summaries(rows).items():
        shown = (show(found[column.key], column) for column in COLUMNS)
        lines.append(f"| {variant} | {' | '.join(shown)} |")
    notes = "\n\n".join(part for part in (NOTE, _missing(rows)) if part)
    failed = [f"- {row.run.name} failed: {row.error}" for row in rows if row.error]
    return "\n".join(["# Ablation", "", *lines, "", notes, "", *failed]).rstrip() + "\n"


def as_json(ablation: Ablation, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what ablation.json says; schema: docs/ablate.md."""
    return {
        "schema_version": ABLATION_SCHEMA_VERSION,
        "clip": str(ablation.clip.path.resolve()),
        "width": ablation.clip.manifest.width,
        "height": ablation.clip.manifest.height,
        "baseline": BASELINE,
        "runs": [
            {
                "variant": row.run.variant,
                "seed": row.run.seed,
                "run": row.run.name,
                "error": row.error,
                **row.measures,
            }
            for row in rows
        ],
        "variants": {
            variant: {key: summary._asdict() for key, summary in found.items()}
            for variant, found in summaries(rows).items()
        },
    }


def write_tables(ablation: Ablation, rows: Sequence[Row]) -> None:
    """Write ablation.json and ablation.md, each whole or not at all."""
    content = {
        JSON_NAME: json.dumps(as_json(ablation, rows), indent=2, allow_nan=False) + "\n",
        MARKDOWN_NAME: as_markdown(rows),
    }
    for name, text in content.items():
        partial = ablation.out / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(ablation.out / name)


def _heading(column: Column) -> str:
    return f"{column.title}, {column.unit}" if column.unit else column.title


def _missing(rows: Sequence[Row]) -> str:
    """Say why there is no landmark distance, where there is none."""
    reasons = {str(row.measures.get("landmarks_missing") or "") for row in rows} - {""}
    return f"No landmark distance: {'; '.join(sorted(reasons))}." if reasons else ""
