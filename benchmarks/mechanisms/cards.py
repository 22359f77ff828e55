"""Put rows of the table into the cards of the zoo, in place of older ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.mechanisms.row import Row
from benchmarks.strength.cards import merge
from torpor.attacks.early_exit.standard import Standard
from torpor.zoo.compared import PATH, CardRow, Reached

METRICS = ("recovery, %", "outlier columns")
"""Of which ``standard`` is after the most; other metrics, such as the class that is kept, rank nothing."""


def publish(rows: Sequence[Row], path: Path = PATH) -> None:
    """Show in the cards what attacks and controls found where ``standard`` stands beside them."""
    found = dict[tuple[str, str, str], list[Row]]()
    for row in rows:
        if row.metric in METRICS:
            found.setdefault((row.target, row.budget, row.metric), []).append(row)
    merge([card_row(each) for each in found.values() if any(row.attack == Standard.id for row in each)], path)


def card_row(rows: Sequence[Row]) -> CardRow:
    """Return rows of one target, budget and metric as a card shows them.

    >>> found = [Row("toy", name, "Linf 0.1", "recovery, %", ours, "", 30, 8) for name, ours in
    ...          (("ilfo", 20.04), ("gradauto", 40.0), ("standard", 40.0))]
    >>> [(each.attack, each.value) for each in card_row(found).reached]
    [('standard', 40.0), ('gradauto', 40.0), ('ilfo', 20.0)]
    """
    order = sorted(rows, key=lambda row: (row.attack != Standard.id, -row.ours))
    reached = tuple(Reached(row.attack, round(row.ours, 1), round(row.passes)) for row in order)
    return CardRow(rows[0].target, rows[0].budget, rows[0].count, rows[0].metric, reached)
