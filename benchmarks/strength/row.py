"""What ``standard`` and everything else found on one target within one budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from torpor.metrics.tails import bootstrap_ci95

TIE = 1e-9
"""Values that differ by less, in proportion, are equal."""


@dataclass(frozen=True)
class Found:
    """What one attack or control found.

    Attributes:
        name: of the attack or control.
        each: values of the samples, in the unit of the row; samples that have none are left out.
        passes: forward and backward passes per sample, in the mean; fitting left out.
        control: whether it is a control.
    """

    name: str
    each: tuple[float, ...]
    passes: float
    control: bool = False

    @property
    def value(self) -> float:
        """The mean over samples."""
        return float(np.mean(self.each))


@dataclass(frozen=True)
class Strength:
    """One target and budget, and what everything that applies found there.

    Attributes:
        target: what was attacked.
        budget: what an attack may change.
        samples: how many were attacked.
        unit: of all values, such as ``"headroom, %"``.
        standard: what the family's ensemble found.
        others: other attacks, and controls.
        seconds: of processor time that everything in the row took.

    >>> low = Found("standard", (4.0, 6.0), 10.0)
    >>> others = (Found("square", (6.0, 7.0), 9.0), Found("noise", (1.0, 1.0), 9.0, True))
    >>> row = Strength("toy", "Linf 0.1", 2, "%", low, others, 1.0)
    >>> row.best(control=False).name, [each.name for each in row.ahead]
    ('square', ['square'])
    >>> Strength.of(row.to_json()) == row
    True
    """

    target: str
    budget: str
    samples: int
    unit: str
    standard: Found
    others: Sequence[Found]
    seconds: float

    def best(self, *, control: bool) -> Found | None:
        """Return the strongest control, or the strongest attack that is none; None if there is none."""
        return max((each for each in self.others if each.control == control), key=lambda one: one.value, default=None)

    @property
    def ahead(self) -> tuple[Found, ...]:
        """What ``standard`` is below."""
        least = self.standard.value + TIE * max(1.0, abs(self.standard.value))
        return tuple(each for each in self.others if each.value > least)

    def behind(self, other: Found) -> tuple[float, float]:
        """Return the 95 % bootstrap interval of how much ``standard`` is below another, the same samples compared."""
        return bootstrap_ci95(np.subtract(other.each, self.standard.each))

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`of` reads."""
        return asdict(self)

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Return a row from what :meth:`to_json` returned."""
        standard, *others = (
            Found(**one | {"each": tuple(one["each"])}) for one in (found["standard"], *found["others"])
        )
        return cls(**found | {"standard": standard, "others": tuple(others)})
