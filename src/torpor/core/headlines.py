"""Headlines: which figures of a summary row a report begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torpor.core.errors import UsageError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """A figure that says how far attacks moved a target: a mean of attacked inputs, compared with that of clean ones.

    Attributes:
        key: of the summary row.
        title: of what is counted, such as ``"decoder steps"``.
        item: name within the value, where that is numbers by name; empty for a number.
        unit: of the figure, such as ``"s"``; empty for a count.
        valid: key that must be true for the figure to be believed, such as ``"latency_valid"``; empty for none.

    >>> tracks = Headline("units_mean", "live tracks", "track_alive")
    >>> clean, attacked = ({"units_mean": {"track_alive": count}} for count in (4.0, 12.0))
    >>> tracks.value(attacked), tracks.moved(attacked, clean)
    (12.0, 3.0)
    """

    key: str
    title: str
    item: str = ""
    unit: str = ""
    valid: str = ""

    def __post_init__(self) -> None:
        if not (all(isinstance(text, str) for text in asdict(self).values()) and self.key and self.title):
            raise UsageError(f"expected a headline with a key and a title, got {self!r:.120}; correct it")

    def value(self, row: Row) -> float | None:
        """Return the figure of a row; None if it was not measured, or is not valid."""
        if self.valid and row.get(self.valid) is not True:
            return None
        found = row.get(self.key)
        if self.item:
            found = found.get(self.item) if isinstance(found, Mapping) else None
        return float(found) if isinstance(found, int | float) else None

    def moved(self, row: Row, clean: Row) -> float | None:
        """Return the figure of ``row`` over that of ``clean``; None without both, infinite where none became some."""
        after, before = self.value(row), self.value(clean)
        if after is None or before is None or after == before == 0:
            return None
        return after / before if before else float("inf")

    def to_json(self) -> dict[str, str]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, value: object) -> Headline:
        """Return a headline from JSON.

        Raises:
            UsageError: if it is none.
        """
        try:
            return cls(**value)  # type: ignore[arg-type]
        except TypeError as error:
            raise UsageError(f"expected a headline, got {value!r:.60}; run the audit again") from error


COST = Headline("cost_mean", "cost")
"""What every audit measures, in its currency."""
LATENCY = (
    Headline("latency_modeled_s", "modeled latency", unit="s"),
    Headline("latency_s_p50", "latency", unit="s", valid="latency_valid"),
)
"""Seconds: counts times calibrated prices, of all inputs; and by the clock, of those that were timed."""
