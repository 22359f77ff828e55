"""Measures: the one description of a column of records and of a key of summary rows; headlines among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from torpor.core.errors import UsageError

Level = Literal["sample", "row"]
Quantity = Literal["ratio", "cost", "time", "energy", "memory", "count", "percent", "distance", "number"]
Dimension = Literal[Quantity, "identity", "text", "flag", "object"]
"""What a value is a number of: it decides which units a gate may write and how tables print it. The last four are not
quantities: they name the sample or row, tell in words or whether something holds, or are composed of other values."""
QUANTITIES: tuple[str, ...] = get_args(Quantity)
ELSEWHERE = "see the reason beside it"
"""Of a null whose reason stands in the row itself."""


class Points(list[Mapping[str, Any]]):
    """Type of a curve: points in order of their passes, each with ``passes``, ``cost``, ``member`` and ``spent``."""


DTYPES: Mapping[str, type] = {kind.__name__: kind for kind in (bool, int, float, str, list, dict, Points)}


@dataclass(frozen=True)
class Measure:
    """Something that an audit records of each sample, or of each row of its summary.

    Schemas of records, names and units of gates, tables, comparisons, baselines and the documentation of the format are
    derived from it, so that a new one is written down once.

    Attributes:
        name: of the column or key.
        level: ``"sample"`` for columns of ``records.parquet``, ``"row"`` for keys of the summary.
        dimension: of the value.
        title: a heading, such as ``"I-Loops"``.
        help: one sentence: what it is, in which unit.
        better: which direction is good for the target's operator; None if neither is.
        null: what a missing value means; empty if it is never missing.
        dtype: type of one value: bool, int, float, str, list (of whole numbers), dict (of numbers) or, of a sample,
            :class:`Points`.
        on_console: whether the console's table shows it.

    >>> Measure("layers", "sample", "count", "layers", "Layers that ran.", better="low", dtype=int).numeric
    True
    """

    name: str
    level: Level
    dimension: Dimension
    title: str
    help: str
    better: Literal["low", "high"] | None = None
    null: str = ""
    dtype: type = float
    on_console: bool = False

    def __post_init__(self) -> None:
        texts = (self.name, self.title, self.help, self.null, self.level, self.dimension, self.better or "low")
        if not (
            all(isinstance(text, str) for text in texts)
            and self.name.isidentifier()
            and self.level in get_args(Level)
            and self.dimension in get_args(Dimension)
            and self.better in (None, "low", "high")
            and self.dtype in DTYPES.values()
            and (self.dtype is not Points or self.level == "sample")
            and isinstance(self.on_console, bool)
        ):
            raise UsageError(
                f"expected a measure whose name is an identifier, of a known level and dimension and of type "
                f"{', '.join(DTYPES)}, got {self!r:.120}; correct it"
            )

    @property
    def numeric(self) -> bool:
        """Whether values can be aggregated and compared with a number."""
        return self.dimension in QUANTITIES

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"dtype": self.dtype.__name__}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Measure:
        """Return a measure from JSON.

        Raises:
            UsageError: if it is none.
        """
        try:
            return cls(**{**value, "dtype": DTYPES[value["dtype"]]})
        except (TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"expected a measure, got {value!r:.60}; run the audit again") from error


class Catalog:
    """Measures by level and name, in order.

    Raises:
        UsageError: if two of one level have the same name.

    >>> found = Catalog([Measure("layers", "sample", "count", "layers", "Layers that ran.", dtype=int)])
    >>> found.at("sample")["layers"].help, list(found.at("row"))
    ('Layers that ran.', [])
    """

    def __init__(self, measures: Iterable[Measure]) -> None:
        self._levels: dict[str, dict[str, Measure]] = {level: {} for level in get_args(Level)}
        for each in measures:
            if each.name in self._levels[each.level]:
                raise UsageError(f"expected one measure {each.name!r} of a {each.level}, got two; rename one")
            self._levels[each.level][each.name] = each

    def __iter__(self) -> Iterator[Measure]:
        for level in self._levels.values():
            yield from level.values()

    def at(self, level: Level) -> Mapping[str, Measure]:
        """Return the measures of one level by name."""
        return self._levels[level]


Row = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """A figure that shows how far attacks moved a target: a mean of attacked inputs, compared with that of clean ones.

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
