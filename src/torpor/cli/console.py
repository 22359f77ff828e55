"""Printing for people: tables that keep their columns where the output is not a terminal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich.console import Console

console = Console(width=None if sys.stdout.isatty() else max(100, shutil.get_terminal_size().columns))


def show_audit(folder: Path) -> None:
    """Print the summary table and the verdict of a finished audit."""
    from torpor.audits.integrity import remarks
    from torpor.audits.read import read_audit
    from torpor.reports.console import summary_table, verdict_line

    audit = read_audit(folder)
    console.print(summary_table(list(audit.summary)))
    console.print(verdict_line(audit.parts()), markup=False, highlight=False)
    for remark in remarks(audit):
        console.print(remark, markup=False, highlight=False)
