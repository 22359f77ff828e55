"""What bounds certify, row by row of the summary, and whether an attack has refuted one."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torpor.audits.conditions import RowKey
from torpor.audits.contradiction import EXCEEDED
from torpor.audits.plan import Plan
from torpor.audits.run.store import Store
from torpor.core.rows import CERTIFIED
from torpor.core.units import symbol
from torpor.metrics.certified import certified_summary, exceeding

NEEDED = ("sample", "cost", "certified_cost", "certified_slowdown", "certified_by")


class CertifiedRows:
    """The bounds of an audit beside what its attacks found.

    A bound that one input exceeds is wrong, whatever it was proven from, so that then nothing is certified in any row;
    the records keep what the bounds said. What smaller budgets found lies within a larger one, so its bound must hold
    of that too.

    Args:
        plan: what was done; it has bounds.
        store: where the merged records are.
        currency: that costs are in.
    """

    def __init__(self, plan: Plan, store: Store, currency: str) -> None:
        self._rows, self._refuted = dict[RowKey, dict[str, Any]](), dict[RowKey, str]()
        for key in plan.keys:
            table = store.row(key)
            samples, cost, most, slowdown, by = (table[name].to_pylist() for name in NEEDED)
            if None in by:
                continue
            for other in (each for each in plan.keys if _within(each, key)):
                found = cost if other == key else store.row(other)["cost"].to_pylist()
                if (place := exceeding(most, found)) is not None:
                    self._refuted[key] = (
                        f"the bound {by[place]} is wrong: {other} costs {found[place]:,.12g} {symbol(currency)} on "
                        f"sample {samples[place]}, over the {most[place]:,.12g} that no input should cost more than"
                    )
                    break
            self._rows[key] = {**certified_summary(most, slowdown, cost), "certified_by": dict(Counter(by))}

    def of(self, key: RowKey) -> dict[str, Any]:
        """Return the keys of one row; null and a reason where nothing is certified."""
        if key in self._rows and not self._refuted:
            return {**self._rows[key], "certified_reason": None}
        return {**dict.fromkeys(each.name for each in CERTIFIED), "certified_reason": self._reason(key)}

    def flags(self, key: RowKey) -> list[str]:
        """Return the flag of a row that exceeds its bound."""
        return [EXCEEDED] if key in self._refuted else []

    def _reason(self, key: RowKey) -> str:
        if key.budget is None:
            return "clean inputs have no budget that a bound could be of"
        if key not in self._rows:
            return f"no bound that was asked for covers the target defended by {key.condition.defense}"
        return self._refuted.get(key) or next(iter(self._refuted.values()))


def _within(other: RowKey, key: RowKey) -> bool:
    """Tell whether what a row found lies within the budget of another row of the same condition."""
    if other.budget is None or key.budget is None or other.clean != key.clean:
        return False
    return key.budget.contains(other.budget)
