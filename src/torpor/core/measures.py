"""Measures: the one description of a column of records and of a key of summary rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from torpor.core.errors import UsageError

Level = Literal["sample", "row"]
Quantity = Literal["ratio", "cost", "time", "energy", "memory", "count", "percent", "distance", "number"]
Dimension = Literal[Quantity, "identity", "text", "flag", "object"]
"""What a value is a number of: it decides which units a gate may write and how tables print it. The last four are not
quantities: they say which sample or row it is, in words, whether something holds, or are composed of other values."""
QUANTITIES: tuple[str, ...] = get_args(Quantity)
ELSEWHERE = "see the reason beside it"
"""Of a null whose reason stands in the row itself."""
DTYPES: Mapping[str, type] = {kind.__name__: kind for kind in (bool, int, float, str, list, dict)}


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
        dtype: type of one value: bool, int, float, str, list (of whole numbers) or dict (of numbers).
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
