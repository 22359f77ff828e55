"""The console's view of an audit: a verdict in one line and a table that fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torpor.reports import words

if TYPE_CHECKING:
    from rich.table import Table

_HEADS = ("attack", "slowdown", "p95 / max", "headroom", "efficacy", "accuracy", "agree", "flags")


def verdict_line(audit: Mapping[str, Any]) -> str:
    """Say what an audit found in one line: the worst attack's cost, the reference costs, what it did to the output.

    >>> verdict_line({"summary": [], "natural": None})
    'Worst slowdown not measured: no attack was run.'
    """
    return " ".join(words.verdict(audit))


def summary_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    """Return the summary as a table, two lines per row: attack over budget, mean over its interval, p95 over maximum.

    Values that nobody measured are ``n/a``; the caption below the table gives the reasons and explains the flags.

    >>> summary_table([]).row_count
    0
    """
    from rich.table import Table
    from rich.text import Text

    utility = next((str(row["utility_name"]) for row in summary if row.get("utility_name")), "accuracy")
    flags = list(dict.fromkeys(flag for row in summary for flag in row["flags"]))
    reasons: dict[str, None] = {}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", caption_justify="left")
    for place, head in enumerate((*_HEADS[:5], utility, *_HEADS[6:])):
        table.add_column(Text(head), justify="left" if place in (0, 7) else "right", overflow="fold")
    for row in summary:
        numbers = ",".join(str(flags.index(flag) + 1) for flag in row["flags"])
        cells = [_name(row), *_figures(row, reasons), numbers or "-"]
        table.add_row(*(Text(cell) for cell in cells), style="dim" if row["kind"] == "control" else "")
    notes = ["slowdown: mean [95 % CI]; efficacy: step form, 1 - mean cost over the static bound"]
    notes += [f"n/a: {reason}" for reason in reasons]
    notes += [f"flag {place}, {flag}: {words.explain_flag(flag)}" for place, flag in enumerate(flags, 1)]
    table.caption = Text("\n".join(notes))
    return table


def _name(row: Mapping[str, Any]) -> str:
    defense = "" if row.get("defense", "none") == "none" else f"\n{row['defense']}"
    return f"{row['attack']}\n{words.budget_text(row)}{defense}" if row["kind"] != "clean" else f"clean{defense}"


def _figures(row: Mapping[str, Any], reasons: dict[str, None]) -> list[str]:
    def cell(key: str, form: Callable[[Any], str]) -> str:
        if not words.is_missing(row.get(key)):
            return form(row[key])
        reasons[f"{key}: {words.reason_for(row, key) or 'the audit gives no reason'}"] = None
        return "n/a"

    ci95 = words.interval(row)
    mean = cell("slowdown_mean", words.times) + (f"\n[{ci95}]" if ci95 else "")
    tail = f"{cell('slowdown_p95', words.times)}\n{cell('slowdown_max', words.times)}"
    shares = [cell(key, words.percent) for key in ("utility", "agreement")]
    return [mean, tail, cell("headroom_mean", words.percent), cell("efficacy_step", "{:.3f}".format), *shares]
