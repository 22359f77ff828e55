"""``torpor leaderboard``: finished audits ranked by the worst that is known of each target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torpor.cli.options import JsonTable, Prices, read_run


def leaderboard(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of finished audits.", show_default=False),
    ],
    as_json: JsonTable = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the table as a page.", show_default=False)
    ] = None,
    prices: Prices = None,
) -> None:
    """Rank targets, bare and with each defense, by the worst known slowdown: the smallest first."""
    from torpor.cli.console import show
    from torpor.cli.streams import note, print_json, say
    from torpor.reports import leaderboard as board

    audits = [read_run(run, prices) for run in runs]
    ranked = board.entries(audits)
    if html is not None:
        note(f"Page: {board.write_leaderboard(audits, html)}")
    if as_json:
        print_json(board.as_json(audits), indent=2)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from torpor.reports.kit.printable import printable

    table = Table(box=box.SIMPLE)
    for head in board.HEADS:
        table.add_column(
            head, overflow="fold", justify="left" if head in ("target", "worst attack", "flags") else "right"
        )
    for line in board.lines(ranked):
        table.add_row(*(Text(printable(cell)) for cell in line))
    show(table, columns=200)
    for remark in board.remarks(audits):
        say(remark)
