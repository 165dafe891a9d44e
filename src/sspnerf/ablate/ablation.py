"""An ablation from start to end: run what is left, then write tables and pictures."""

from sspnerf.ablate.children import Command, Report
from sspnerf.ablate.picture import draw_pictures
from sspnerf.ablate.runs import Ablation, carry_out
from sspnerf.ablate.table import Row, read_rows, write_tables


def ablate(
    ablation: Ablation,
    *,
    jobs: int = 1,
    overwrite: bool = False,
    report: Report = lambda line: None,
    sspnerf: Command | None = None,
) -> tuple[Row, ...]:
    """Train and measure all variants, and compare them.

    Writes into OUT: the runs, ablation.json, ablation.md, ablation.png and convergence.png. What is
    finished already is kept, what was stopped goes on.

    Args:
        ablation: From `plan_ablation`.
        jobs: Runs at once; they share the cores.
        overwrite: Train runs anew whose settings are others than asked for.
        report: Called with a line whenever something happens.
        sspnerf: Command that stands for `sspnerf`; this interpreter's own if None.

    Returns:
        What was measured of each run; runs that failed say why.

    Raises:
        UsageError: If a run's folder holds something else.
        KeyboardInterrupt: After all runs have stopped and saved.
    """
    failed = carry_out(ablation, jobs=jobs, overwrite=overwrite, report=report, sspnerf=sspnerf)
    rows = read_rows(ablation, failed)
    write_tables(ablation, rows)
    draw_pictures(ablation, rows)
    return rows
