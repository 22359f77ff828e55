"""The console's view of an audit: a verdict in one line and a table that fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torpor.core.budget import budget_text
from torpor.reports.kit import words
from torpor.reports.kit.flags import explain_flag
from torpor.reports.kit.printable import printable
from torpor.reports.sections import section_of
from torpor.reports.verdict import verdict

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def verdict_line(audit: Mapping[str, Any]) -> str:
    """Say what an audit found in one line: the worst attack's cost, the reference costs, what it did to the output.

    >>> verdict_line({"summary": [], "natural": None})
    'Worst slowdown not measured: no attack was run.'
    """
    return " ".join(verdict(audit))


def summary_table(audit: Mapping[str, Any]) -> Table:
    """Return the summary as a table, two lines per row: attack over budget, mean over its interval, p95 over maximum.

    Columns other than cost are the family's. Values that were not measured are ``n/a``; the caption below the table
    gives the reasons and explains the flags.

    >>> summary_table({"summary": []}).row_count
    0
    """
    from rich.table import Table

    summary, section = audit["summary"], section_of(audit)
    flags = list(dict.fromkeys(flag for row in summary for flag in row["flags"]))
    reasons: dict[str, None] = {}
    nulls = {measure.name: measure.null for measure in section.measures}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", caption_justify="left")
    for head in ("attack", *section.console_heads(), "flags"):
        table.add_column(_text(head), justify="left" if head in ("attack", "flags") else "right", overflow="fold")
    for row in summary:
        numbers = ",".join(str(flags.index(flag) + 1) for flag in row["flags"])
        cells = [_name(row), *section.console_cells(row, partial(_cell, row, nulls, reasons)), numbers or "-"]
        table.add_row(*map(_text, cells), style="dim" if row["kind"] == "control" else "")
    notes = [section.console_note(), *(f"n/a: {reason}" for reason in reasons)]
    notes += [f"flag {place}, {flag}: {explain_flag(flag)}" for place, flag in enumerate(flags, 1)]
    table.caption = _text("\n".join(notes))
    return table


def _text(said: str) -> Text:
    from rich.text import Text

    return Text(printable(said, lines=True))


def _name(row: Mapping[str, Any]) -> str:
    defense = "" if row.get("defense", "none") == "none" else f"\n{row['defense']}"
    defense += f"\n{row['attacker']}" if row.get("attacker") else ""
    budget = budget_text(row, short=True)
    return f"{row['attack']}\n{budget}{defense}" if row["kind"] != "clean" else f"clean{defense}"


def _cell(
    row: Mapping[str, Any],
    nulls: Mapping[str, str],
    reasons: dict[str, None],
    key: str,
    form: Callable[[Any], str],
) -> str:
    """Return a value as text; ``n/a`` and a reason below the table where there is none."""
    if not words.is_missing(row.get(key)):
        return form(row[key])
    reasons[f"{key}: {words.reason_for(row, key, nulls.get(key, '')) or 'the audit gives no reason'}"] = None
    return "n/a"
