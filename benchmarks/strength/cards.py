"""Put rows of the table into the cards of the zoo, in place of older ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.strength.cases import CASES
from benchmarks.strength.row import Strength
from torpor.zoo.compared import PATH, CardRow, Reached, read, write


def publish(rows: Sequence[Strength], path: Path = PATH) -> None:
    """Put rows into the cards; those of masked networks are in none, since they are no targets of the zoo."""
    merge([card_row(row) for row in rows if ":" not in row.target], path)


def merge(rows: Sequence[CardRow], path: Path = PATH) -> None:
    """Replace the rows of equal target, budget and unit that were measured on no more samples, and keep the others.

    Rows of cases come first, in their order.
    """
    kept = {_key(row): row for row in read(path)}
    for row in rows:
        if _key(row) not in kept or row.samples >= kept[_key(row)].samples:
            kept[_key(row)] = row
    order = [(case.target, case.budget, unit) for case in CASES for unit in case.figures]
    write([kept[key] for key in dict.fromkeys((*order, *kept)) if key in kept], path)


def card_row(row: Strength) -> CardRow:
    """Return a row as cards show it.

    >>> from benchmarks.strength.row import Found
    >>> low = Found("standard", (4.0, 6.0), 10.0)
    >>> others = (Found("square", (1.0, 3.0), 9.0), Found("ilfo", (2.0, 4.0), 9.4))
    >>> for each in card_row(Strength("toy", "Linf 0.1", 2, "%", low, others, 1.0)).reached:
    ...     print(each.attack, each.value, each.passes)
    standard 5.0 10
    ilfo 3.0 9
    square 2.0 9
    """
    others = sorted(row.others, key=lambda each: -each.value)
    reached = tuple(Reached(each.name, round(each.value, 1), round(each.passes)) for each in (row.standard, *others))
    return CardRow(row.target, row.budget, row.samples, row.unit, reached)


def _key(row: CardRow) -> tuple[str, str, str]:
    return row.target, row.budget, row.unit
