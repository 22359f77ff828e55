"""``torpor report``: show a finished audit again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torpor.cli.options import Prices, read_run


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished audit.")], prices: Prices = None
) -> None:
    """Print the table of a finished audit and rewrite its HTML report.

    With --prices, costs are those of the price list, and the report is report-CURRENCY.html; nothing else is written.
    """
    from torpor.cli.console import show_audit
    from torpor.cli.streams import say
    from torpor.reports.html import write

    audit = read_run(run, prices)
    path = write(audit, "report.html" if prices is None else f"report-{audit.currency}.html")
    show_audit(audit)
    say(f"Report: {path}")
