"""``torpor compare``: finished audits side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torpor.cli.options import JsonTable, Prices, read_run

if TYPE_CHECKING:
    from torpor.audits.read import SavedAudit

METRICS = ("slowdown_mean", "slowdown_p95", "slowdown_max", "headroom_mean", "utility")
"""Of every audit; what the families of its targets show on the console comes on top."""
SCHEMA = "torpor.compare/1"


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Folders of two or more finished audits.", show_default=False),
    ],
    as_json: JsonTable = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a page of two audits: differences with intervals, which are significant, what changed in "
            "the plan.",
            show_default=False,
        ),
    ] = None,
    prices: Prices = None,
) -> None:
    """Put finished audits side by side: one line per row and run, a dash where a run has no such row or value."""
    from torpor.cli.streams import note, print_json, say
    from torpor.core.errors import UsageError

    if html is not None and len(runs) != 2:
        raise UsageError(f"expected two audits with --html, got {len(runs)}; torpor leaderboard takes more")
    if len(runs) < 2:
        raise UsageError("expected two or more audits to compare, got one; use torpor report for a single one")
    audits = [read_run(run, prices) for run in runs]
    rows = side_by_side(audits)
    if html is not None:
        from torpor.reports.comparison import write_comparison

        note(f"Page: {write_comparison(audits[0], audits[1], html)}")
    notes = list(dict.fromkeys(line for audit in audits for line in audit.notes))
    if as_json:
        print_json({"schema": SCHEMA, "rows": rows, "notes": notes}, indent=2)
    else:
        _print(rows, [str(run) for run in runs])
        for line in notes:
            say(line)


def side_by_side(audits: Sequence[SavedAudit]) -> list[dict[str, Any]]:
    """Join the summaries of audits by target, attack, defense and budget, in order of first appearance.

    Returns:
        One entry per row with its key and ``runs``: for each audit in turn its folder and metrics, each of them None
        where it has no such row or did not measure it.

    >>> from pathlib import Path
    >>> from torpor.audits.read import SavedAudit
    >>> summary = [{"attack": "clean", "kind": "clean", "utility": 0.9}]
    >>> audit = SavedAudit(Path("run"), {}, {"name": "toy"}, {}, None, summary)
    >>> row = side_by_side([audit, audit])[0]
    >>> row["target"], [run["utility"] for run in row["runs"]]
    ('toy', [0.9, 0.9])
    """
    from torpor.audits.conditions import RowKey
    from torpor.audits.verdict.gate import scalar

    measures = (each for audit in audits for each in audit.measures if each.level == "row" and each.numeric)
    metrics = tuple(dict.fromkeys((*METRICS, *(each.name for each in measures if each.on_console))))
    tables: list[dict[tuple[str, RowKey], Mapping[str, Any]]] = [
        {(audit.target["name"], RowKey.of(row)): row for row in audit.summary} for audit in audits
    ]
    joined = []
    for key in dict.fromkeys(key for table in tables for key in table):
        runs = [
            {"run": str(audit.folder), **{metric: scalar(table.get(key, {}), metric) for metric in metrics}}
            for audit, table in zip(audits, tables, strict=True)
        ]
        target, row = key
        joined.append({"target": target, **row.to_json(), "runs": runs})
    return joined


def _print(rows: Sequence[Mapping[str, Any]], runs: Sequence[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from torpor.audits.conditions import describe_row
    from torpor.cli.console import show
    from torpor.cli.streams import say
    from torpor.reports.kit.printable import printable

    table = Table(box=box.SIMPLE)
    for name in ("target", "row", "run"):
        table.add_column(name, overflow="fold")
    runs_shown = [run for row in rows for run in row["runs"]]
    names = dict.fromkeys(name for run in runs_shown for name in run if name != "run")
    metrics = [name for name in names if any(run[name] is not None for run in runs_shown)]
    for metric in metrics:
        table.add_column(metric.replace("_", "\n"), justify="right")
    for row in rows:
        for place, run in enumerate(row["runs"]):
            head = [row["target"], describe_row(row)] if place == 0 else ["", ""]
            values = ["-" if run[metric] is None else f"{run[metric]:.4g}" for metric in metrics]
            cells = [Text(printable(text)) for text in (*head, str(place + 1), *values)]
            table.add_row(*cells, end_section=place + 1 == len(row["runs"]))
    show(table, columns=200)
    for place, name in enumerate(runs, start=1):
        say(f"run {place}: {name}")
