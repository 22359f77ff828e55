"""Rows as one Markdown table, and in words what ``standard`` is below."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.strength.row import Found, Strength

HEADS = (
    "target",
    "budget",
    "n",
    "unit",
    "`standard` (passes)",
    "best other attack (passes)",
    "best control (passes)",
    "`standard` >= best",
)


def table(rows: Sequence[Strength]) -> str:
    """Return the table.

    >>> low = Found("standard", (4.0, 6.0), 10.0)
    >>> print(table([Strength("toy", "Linf 0.1", 2, "%", low, (Found("square", (5.0, 7.0), 9.0),), 1.0)]))
    | target | budget | n | unit | `standard` (passes) | best other attack (passes) | best control (passes) | `standard` >= best |
    |---|---|---|---|---|---|---|---|
    | toy | Linf 0.1 | 2 | % | 5.0 (10) | square 6.0 (9) | none | no |
    <BLANKLINE>
    `standard` is below square on toy, Linf 0.1: 5.0 against 6.0 %, by 1.0 to 1.0 (95 % interval of the difference).
    """  # noqa: E501 - as it is printed
    lines = [HEADS, ("---",) * len(HEADS)]
    for row in rows:
        best = (row.best(control=False), row.best(control=True))
        named = [f"{each.name} {_cell(each)}" if each else "none" for each in best]
        verdict = "no" if row.ahead else "yes"
        lines.append(
            (row.target, row.budget, str(row.samples), row.unit, _cell(row.standard), *named, verdict),
        )
    printed = [f"|{'|'.join(line)}|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines]
    said = [
        f"`standard` is below {best.name} on {row.target}, {row.budget}: "
        f"{row.standard.value:,.1f} against {best.value:,.1f} {row.unit}, {_interval(row, best)}."
        for row in rows
        for best in row.ahead
    ]
    return "\n".join([*printed, "", *(said or ["`standard` is below nothing."])])


def _interval(row: Strength, best: Found) -> str:
    if len(best.each) < 2:
        return "of a single sample"
    low, high = row.behind(best)
    return f"by {low:,.1f} to {high:,.1f} (95 % interval of the difference)"


def _cell(found: Found) -> str:
    return f"{found.value:,.1f} ({found.passes:,.0f})"
