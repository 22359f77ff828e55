"""The page of ``torpor compare A B --html``: what differs between two audits, and what was run in another way."""

from __future__ import annotations

from pathlib import Path

from torpor.audits.conditions import describe_row
from torpor.audits.differences import MEASURES, Difference, changed_plan, differences
from torpor.audits.integrity import doubt
from torpor.audits.read import SavedAudit
from torpor.core.errors import UsageError
from torpor.core.units import common_scale, symbol
from torpor.reports.kit.words import moment, percent, times
from torpor.reports.page import write_page

Line = tuple[str, str, str, str, str, str, str]
"""Row, measure, both means, the difference, its interval, and what follows."""


def write_comparison(first: SavedAudit, second: SavedAudit, path: Path) -> Path:
    """Write the page and return its path.

    Args:
        first: what is compared with.
        second: what is judged.
        path: of the page.

    Raises:
        UsageError: if the audits have no row in common, or the file cannot be written.
        DataError: if records cannot be read.
    """
    found = list(differences(first, second))
    if not found:
        raise UsageError(
            f"expected audits with some row in common, got none of {first.target['name']} in {first.folder} and "
            f"{second.target['name']} in {second.folder}; audit both with the same attacks and budgets"
        )
    costs = (value for each in found if each.measure == "cost" for value in (each.before, each.after))
    scale, unit = common_scale(costs, symbol(first.currency))
    known = [{describe_row(row) for row in audit.summary} for audit in (first, second)]
    return write_page(
        path,
        "compare.html.j2",
        audits=[first, second],
        moment=moment,
        verdict=_verdict(found),
        lines=[_line(each, scale, unit) for each in found],
        plan=changed_plan(first, second),
        alone=[sorted(known[0] - known[1]), sorted(known[1] - known[0])],
        doubts=[reason for audit in (first, second) if (reason := doubt(audit))],
        paired=found[0].paired,
    )


def _verdict(found: list[Difference]) -> list[str]:
    """Say what is significant, the rows of attacks first."""
    apart = [each for each in found if each.significant]
    known = [each for each in found if each.low is not None]
    said = [
        f"{len(apart)} of {len(known)} differences are significant: their 95 % interval excludes zero. Of so many "
        f"comparisons {0.05 * len(known):.0f} would be by chance alone."
    ]
    for each in apart:
        if each.row["kind"] == "attack" and each.measure == "slowdown":
            way = "rose" if each.after > each.before else "fell"
            said.append(
                f"Mean slowdown {way} from {times(each.before)} to {times(each.after)}: {describe_row(each.row)}."
            )
    if len(said) == 1:
        said.append("No attack has another mean slowdown than before, as far as these samples tell.")
    return said


def _line(each: Difference, scale: float, unit: str) -> Line:
    def written(value: float) -> str:
        if each.measure == "cost":
            return f"{value / scale:.4g}"
        return percent(value) if each.measure in ("headroom", "utility") else f"{value:.3f}x"

    title = MEASURES[each.measure] + (f" ({unit})" if each.measure == "cost" else "")
    ends = (
        "none: one sample" if each.low is None or each.high is None else f"{written(each.low)} to {written(each.high)}"
    )
    answer = "significant" if each.significant else "unknown" if each.low is None else "not significant"
    change = written(each.after - each.before)
    return describe_row(each.row), title, written(each.before), written(each.after), change, ends, answer
