"""``torpor report``: show a finished audit again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished audit.")]) -> None:
    """Print the table of a finished audit and write its HTML report anew."""
    from torpor.cli.console import show_audit
    from torpor.cli.streams import say
    from torpor.reports.html import write_report

    path = write_report(run)
    show_audit(run)
    say(f"Report: {path}")
