"""The verdict of gates on an audit, which is true only where all of them passed."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from torpor.audits.verdict.gate import CheckResult, Verdict, overall
from torpor.reports.kit.printable import printable


@dataclass(frozen=True)
class Checks:
    """Verdicts of gates on an audit, one result per gate and row. It is true if every one passed, and only then.

    Attributes:
        results: of each gate on each row that it selects.

    >>> bool(Checks(())), Checks(()).verdict.value
    (False, 'inconclusive')
    """

    results: tuple[CheckResult, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict on all: a fail beats an inconclusive result, which beats a pass."""
        return overall(self.results)

    def __bool__(self) -> bool:
        return self.verdict is Verdict.PASS

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __str__(self) -> str:
        """Return the verdict, and a line for each result, the worst first."""
        order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
        lines = [_line(found) for verdict in order for found in self.results if found.verdict is verdict]
        return printable("\n".join([self.verdict.value.upper(), *lines]), lines=True)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _line(found: CheckResult) -> str:
    """Return a result in a sentence."""
    said = [f"{found.verdict.value}: {found.check}, got {found.shown} [{found.row or 'no row'}]"]
    said += [found.reason] if found.reason else []
    said += [f"although flagged {flag}, which was accepted" for flag in found.accepted]
    return "; ".join([*said, *found.notes])
