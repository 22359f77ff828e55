"""Gates as the report begins with them: a line each, with the row that decides it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torpor.audits.verdict.gate import CheckResult, overall

ORDER = ("fail", "inconclusive", "pass")
WORDS = {"fail": "failed", "inconclusive": "inconclusive", "pass": "passed"}


@dataclass(frozen=True)
class GateLine:
    """One gate on all rows that it selects.

    Attributes:
        verdict: on all of them.
        decisive: of the results with that verdict, the one that is the farthest from what the gate asks for.
        counts: how many rows have which verdict, in words.
        results: all of them, the worst first.
    """

    verdict: str
    decisive: CheckResult
    counts: str
    results: tuple[CheckResult, ...]


def gate_lines(results: Sequence[CheckResult]) -> list[GateLine]:
    """Return a line for each gate, in the order in which they were given."""
    found = []
    for check in dict.fromkeys(each.check for each in results):
        own = [each for each in results if each.check == check]
        verdict = overall(own).value
        ranked = sorted(own, key=lambda each: (ORDER.index(each.verdict.value), -_excess(each)))
        counts = Counter(each.verdict.value for each in own)
        said = ", ".join(f"{counts[name]} {WORDS[name]}" for name in ORDER if counts[name])
        found.append(GateLine(verdict, ranked[0], said if len(own) > 1 else "", tuple(ranked)))
    return found


def outcome(lines: Sequence[GateLine]) -> str:
    """Sum up the gates in a sentence.

    >>> outcome([])
    'Gates: none.'
    """
    counts = Counter(line.verdict for line in lines)
    return f"Gates: {', '.join(f'{counts[name]} {WORDS[name]}' for name in ORDER if counts[name]) or 'none'}."


def _excess(result: CheckResult) -> float:
    """Return a number that grows with how bad a value is for its gate."""
    if result.value is None:
        return float("-inf")
    return result.value if result.limit.startswith("<") else -result.value
