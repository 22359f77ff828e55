"""Verdicts as Markdown, for the page of a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from torpor.audits.read import SavedAudit
from torpor.audits.verdict.gate import CheckResult, Verdict, overall
from torpor.reports.kit.printable import printable

MARKS = {Verdict.PASS: "\u2705 pass", Verdict.FAIL: "\u274c fail", Verdict.INCONCLUSIVE: "\u2754 inconclusive"}
WARNING = "\u26a0\ufe0f warning"
MOST = 100
"""Rows of the table; what failed comes first."""


def summary_markdown(results: Sequence[CheckResult], audit: SavedAudit | Path) -> str:
    """Write the verdict, a table of all checks with what failed first, and what must be known of them.

    Args:
        results: what was checked.
        audit: the audit that was checked, its folder if it could not be read, or the file of what was checked instead.

    >>> bad = CheckResult("max(slowdown) < 2", "gate/max(slowdown)", "toy", "pgd", 3.0, "3x", "< 2x", Verdict.FAIL)
    >>> print(summary_markdown([bad], Path("run")).splitlines()[0])
    ## torpor: \u274c fail
    """
    lines = [f"## torpor: {MARKS[overall(results)]}", ""]
    if isinstance(audit, SavedAudit):
        first = next(iter(audit.summary), {})
        lines += [f"Target `{_code(str(audit.target['name']))}`, {first.get('n', 'no')} samples.", ""]
    lines += ["| gate | row | value | limit | verdict |", "|---|---|---:|---:|---|"]
    order = sorted(results, key=lambda each: (each.verdict is Verdict.PASS, each.warns))
    for each in order[:MOST]:
        verdict = WARNING if each.warns and each.verdict is not Verdict.PASS else MARKS[each.verdict]
        gate = each.check.rpartition(f" {each.limit.partition(' ')[0]} ")[0] or each.check
        lines.append(f"| `{_code(gate)}` | {_cell(each.row)} | {_cell(each.shown)} | {_cell(each.limit)} | {verdict} |")
    if len(order) > MOST:
        lines.append(f"\n{len(order) - MOST} more checks are not shown.")
    said: dict[str, dict[str, None]] = {}
    for each in order[:MOST]:
        accepted = (f"passes although flagged {flag}, which was accepted" for flag in each.accepted)
        for text in (*([each.reason] if each.reason else ()), *accepted, *each.notes):
            said.setdefault(text, {})[f"`{_code(each.check)}` [{_cell(each.row) or 'no row'}]"] = None
    lines += ["", *(f"- {', '.join(checks)}: {_cell(text)}" for text, checks in said.items())] if said else []
    if isinstance(audit, SavedAudit) and audit.command:
        lines += ["", "Repeat it with:", "", "```", printable(audit.command), "```"]
    return "\n".join(lines) + "\n\n"


def _cell(text: str) -> str:
    """Return a text that is no markup and stays in its cell."""
    shown = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", shown)


def _code(text: str) -> str:
    """Return a text as it may stand between two backticks of a cell."""
    return printable(text).replace("`", "'").replace("|", "\\|")
