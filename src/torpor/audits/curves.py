"""The curves that an audit recorded: per sample, the best so far against what the search had spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torpor.attacks.search.incumbent import Improvement
from torpor.audits.read import SavedAudit

COLUMNS = ("sample", "cost_clean", "cost_own", "forwards", "backwards", "curve", "cost")
SPENT = "search_cost"
"""Column that older audits do not have."""


@dataclass(frozen=True)
class SampleCurve:
    """How one search on one sample went.

    Attributes:
        sample: its index in its split.
        clean: cost of the clean input without any defense.
        own: cost of the clean input as the row's target is defended, where the curve begins.
        forwards: passes of the search, forward.
        backwards: backward.
        points: where the best so far became costlier, in the order of the passes.
        cost: of the input that the row keeps, which may be from another search; None if not asked for.
        spent: on the candidates of the search, in the currency of the costs; None where candidates are not billed.

    >>> curve = SampleCurve(0, 2.0, 2.0, 60, 40, (Improvement(3, 4.0), Improvement(50, 5.0)))
    >>> curve.passes, [curve.best(passes) for passes in (0, 3, 49, 100)], curve.slowdown(50)
    (100, [2.0, 4.0, 4.0, 5.0], 2.5)
    >>> billed = SampleCurve(0, 2.0, 2.0, 9, 0, (Improvement(3, 4.0, spent=12.0),), spent=50.0)
    >>> billed.billed, [billed.best_for(spent) for spent in (11.0, 12.0)]
    (True, [2.0, 4.0])
    """

    sample: int
    clean: float
    own: float
    forwards: int
    backwards: int
    points: tuple[Improvement, ...]
    cost: float | None = None
    spent: float | None = None

    @property
    def billed(self) -> bool:
        """Whether it is known what was spent by each of its points."""
        return self.spent is not None and all(point.spent is not None for point in self.points)

    @property
    def passes(self) -> int:
        """Forward and backward passes of the search."""
        return self.forwards + self.backwards

    def best(self, passes: int) -> float:
        """Return the cost of the best after so many passes."""
        return next((point.cost for point in reversed(self.points) if point.passes <= passes), self.own)

    def best_for(self, spent: float) -> float:
        """Return the cost of the best once so much was spent on candidates; of a curve that is :attr:`billed`."""
        paid = (point.cost for point in reversed(self.points) if point.spent is not None and point.spent <= spent)
        return next(paid, self.own)

    def slowdown(self, passes: int) -> float:
        """Return :meth:`best` over the cost of the clean input without any defense."""
        return self.best(passes) / self.clean


def curves_of(audit: SavedAudit, row: Mapping[str, Any]) -> list[SampleCurve]:
    """Return the curve of each sample of a row of the summary, in the order of its records.

    Empty where there are none: for clean rows, for inputs that were not searched on the row's target, in audits of
    older versions, and under other prices than those of the run, since what ran at the points is not recorded.

    Raises:
        DataError: if the records cannot be read.
    """
    if "curve" not in audit.columns:
        return []
    names = [*COLUMNS, SPENT] if SPENT in audit.columns else COLUMNS
    table = audit.load_records(names, row)
    if table["curve"].null_count:
        return []
    columns = (table[name].to_pylist() for name in names)
    return [
        SampleCurve(sample, clean, own, forwards, backwards, tuple(map(_point, points)), cost, *spent)
        for sample, clean, own, forwards, backwards, points, cost, *spent in zip(*columns, strict=True)
    ]


def _point(stored: Mapping[str, Any]) -> Improvement:
    return Improvement(stored["passes"], stored["cost"], stored["member"] or "", stored.get("spent"))


def seconds_of(samples: Mapping[str, Any] | None, batch_size: int, slug: str) -> list[float]:
    """Return what the search on each sample of a row took, its even share of its batch; empty where that is unknown.

    Args:
        samples: what ``audit.json`` says of them.
        batch_size: how many are searched at once.
        slug: of the row.

    >>> seconds_of({"read": 3, "seconds": {"square-Linf-0.1": [4.0, 1.0]}}, 2, "square-Linf-0.1")
    [2.0, 2.0, 1.0]
    """
    taken = ((samples or {}).get("seconds") or {}).get(slug) or []
    read = (samples or {}).get("read") or 0
    counts = [min(batch_size, read - batch * batch_size) for batch in range(len(taken))]
    if sum(counts) != read or any(count < 1 for count in counts):
        return []
    return [second / count for second, count in zip(taken, counts, strict=True) for _ in range(count)]
