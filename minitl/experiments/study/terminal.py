"""The study's table in the terminal."""

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitl.experiments.study.summary import Study, read_study
from minitl.pages.formats import MISSING, megabytes, share_trained, with_spread

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100  # columns of the table where no terminal says how many there are


def print_table(results: dict[str, Any], console: "Console", report: Path | None = None) -> None:
    """Print one row per regime, then where the report is. Piped, it is plain text without colours or box drawing.

    Raises InputError when `results` lacks a field of results.json.
    """
    from rich.text import Text

    study = read_study(results)
    seeds = f", mean ± standard deviation over {study.seeds} seeds" if study.seeds > 1 else ""
    console.print(Text(f"{study.full_labels:,} labels, {study.test_size:,} test examples{seeds}"), soft_wrap=True)
    if console.is_terminal:
        console.print(_table(study, boxed=True))
    else:
        console.print(Text(_plain(study)), soft_wrap=True)  # a pipe has no width to wrap at
    if report is not None:
        console.print(Text(f"Report: {report}"), soft_wrap=True)


def _plain(study: Study) -> str:
    from rich.console import Console

    drawn = StringIO()
    Console(file=drawn, width=WIDTH, color_system=None).print(_table(study, boxed=False))
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def _table(study: Study, boxed: bool) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if boxed else None, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Regime")
    for column in ("Accuracy %", "F1 %", "Trainable", "Share", "Seconds", "Memory", "Saved"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm in study.arms:
        f1, seconds = arm.measured("f1"), arm.measured("seconds")
        memory = arm.measured("peak_memory_mb")
        table.add_row(
            Text(arm.short),
            with_spread(arm.accuracy.mean, arm.accuracy.spread),
            with_spread(f1.mean, f1.spread),
            f"{arm.trainable:,}",
            share_trained(arm.percent),
            f"{seconds.mean:,.1f}" if seconds else MISSING,
            f"{memory.largest:,.0f} MB" if memory else MISSING,
            megabytes(arm.measured("saved_bytes").mean),
        )
    return table
