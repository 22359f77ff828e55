"""What ``standard`` and other attacks found on targets of the zoo, as the benchmarks measured it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PATH = Path(__file__).with_name("compared.json")


@dataclass(frozen=True)
class Reached:
    """What one attack or control reached.

    Attributes:
        attack: its name.
        value: the mean over samples, in the unit of the row.
        passes: forward and backward passes per sample, in the mean; fitting left out.
    """

    attack: str
    value: float
    passes: int


@dataclass(frozen=True)
class CardRow:
    """What attacks reached on one target within one budget.

    Attributes:
        target: of the zoo.
        budget: what an attack may change.
        samples: of the test split, how many were attacked.
        unit: of the values, such as ``"headroom, %"``.
        reached: ``standard`` first, then others, the strongest first.
    """

    target: str
    budget: str
    samples: int
    unit: str
    reached: tuple[Reached, ...]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Return a row as it stands in the file."""
        return cls(**found | {"reached": tuple(Reached(*each) for each in found["reached"])})

    def line(self) -> str:
        """Return the row as a line of the file.

        >>> row = CardRow("toy", "Linf 0.1", 8, "headroom, %", (Reached("standard", 62.9, 120),))
        >>> row.line()
        '{"target": "toy", "budget": "Linf 0.1", "samples": 8, "unit": "headroom, %", "reached": [["standard", 62.9, 120]]}'
        >>> CardRow.of(json.loads(row.line())) == row
        True
        """  # noqa: E501 - as it is printed
        reached = [[each.attack, each.value, each.passes] for each in self.reached]
        return json.dumps(vars(self) | {"reached": reached})


def read(path: Path = PATH) -> list[CardRow]:
    """Return all rows."""
    return [CardRow.of(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def write(rows: list[CardRow], path: Path = PATH) -> None:
    """Write all rows, a line each."""
    path.write_text("[\n" + ",\n".join(row.line() for row in rows) + "\n]\n", encoding="utf-8")


def compared(target: str) -> list[CardRow]:
    """Return the rows of one target; none if it has not been measured.

    >>> compared("sdn-digits")[0].budget
    'Linf 8/255'
    """
    return [row for row in read() if row.target == target]
