"""What an audit's attacks moved: its headlines, the one that moved most first."""

from __future__ import annotations

from dataclasses import dataclass

from torpor.core.measures import COST, LATENCY, Headline
from torpor.reports.kit.words import (
    Row,
    beside,
    costliest,
    label,
    percent,
    quantity,
    steps_text,
    times,
    titled,
    undefended,
)


@dataclass(frozen=True)
class HeadlineChange:
    """How far attacks moved one headline of an undefended target.

    Attributes:
        headline: what is counted.
        row: of the attack that moved it most.
        clean: the row of the clean inputs.
        control: the row of the control of the same budget that moved it most; None if none ran.
    """

    headline: Headline
    row: Row
    clean: Row
    control: Row | None

    @property
    def factor(self) -> float | None:
        """Attacked over clean; None where either is unknown."""
        return self.headline.moved(self.row, self.clean)

    @property
    def figures(self) -> str:
        """Clean and attacked mean."""
        return " to ".join(self._text(row) for row in (self.clean, self.row))

    @property
    def typical(self) -> str:
        """Which mean the figures are."""
        return "in the median" if self.headline.key.endswith("_p50") else "on average"

    @property
    def sentence(self) -> str:
        """Say how far, by what, and what a control does."""
        factor, other = self.factor, None if self.control is None else self.headline.moved(self.control, self.clean)
        by = "" if factor is None or factor == float("inf") else f" ({times(factor)})"
        against = "no control was run" if self.control is None else "the strongest control found none"
        if self.control is not None and other is not None:
            against = f"strongest control {self._text(self.control)}"
        start = titled(self.headline.title)
        return f"{start} per input {self.figures} {self.typical}{by} by {label(self.row)}; {against}."

    def _text(self, row: Row) -> str:
        figure = self.headline.value(row) or 0.0
        return quantity(figure, self.headline.unit) if self.headline.unit else steps_text(figure)


def moved(audit: Row) -> list[HeadlineChange]:
    """Return the headlines of an audit, the one that attacks moved most first; those that nobody measured are left out.

    >>> clean = {"attack": "clean", "kind": "clean", "cost_mean": 2.0, "steps_mean": 3.0}
    >>> attack = {"attack": "long", "kind": "attack", "slowdown_mean": 1.5, "cost_mean": 3.0, "steps_mean": 9.0}
    >>> audit = {"summary": [clean, attack], "headlines": (COST, Headline("steps_mean", "decoder steps"))}
    >>> [each.headline.title for each in moved(audit)]
    ['decoder steps', 'cost']
    """
    rows = undefended(audit["summary"])
    clean = next((row for row in rows if row["kind"] == "clean"), {})
    found = []
    for headline in audit.get("headlines") or (COST,):
        row = _most(rows, headline, "attack")
        if row is not None and (headline == COST or headline.moved(row, clean) is not None):
            found.append(HeadlineChange(headline, row, clean, _most(beside(rows, row), headline, "control")))
    return sorted(found, key=lambda each: -(each.factor or 0.0))


def calibrated(audit: Row) -> list[str]:
    """Say by what seconds per unit a headline models latency, and how far they are from the clock.

    >>> clock = {"price_list": "seconds on cpu, WallClock", "error": 0.031, "valid": True}
    >>> row = {"attack": "clean", "kind": "clean", "latency_modeled_s": 0.25}
    >>> calibrated({"summary": [row, row | {"attack": "long", "kind": "attack"}], "clock": clock, "headlines": LATENCY})
    ['Modeled latency is counts times seconds per unit (seconds on cpu, WallClock), which differ from the time of a \
call by up to 3.1 %.']
    """
    clock, keys = audit.get("clock") or {}, [each.headline.key for each in moved(audit)]
    if LATENCY[0].key not in keys or clock.get("error") is None:
        return []
    return [
        f"Modeled latency is counts times seconds per unit ({clock['price_list']}), which differ from the time of a "
        f"call by up to {percent(clock['error'])}."
    ]


def _most(rows: list[Row], headline: Headline, kind: str) -> Row | None:
    """Return the row of a kind with the largest figure; that of cost is the costliest, sample by sample."""
    if headline == COST:
        return costliest(rows, kind)
    known = [row for row in rows if row["kind"] == kind and headline.value(row) is not None]
    return max(known, key=lambda row: headline.value(row) or 0.0, default=None)
