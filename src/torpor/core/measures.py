"""Measures: the one description of a column of records and of a key of summary rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["sample", "row"]
Dimension = Literal[
    "ratio", "cost", "time", "energy", "memory", "count", "percent", "distance", "number", "text", "flag", "object"
]
"""What a value is a number of: it decides which units a gate may write and how tables print it."""


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
        better: which direction is good for who runs the target; None if neither is.
        null: what a missing value means; empty if it is never missing.
        dtype: type of one value: bool, int, float, str, list or dict.
        on_console: whether the console's table shows it.

    >>> Measure("layers", "sample", "count", "Layers", "Layers that ran.", better="low", dtype=int).numeric
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

    @property
    def numeric(self) -> bool:
        """Whether values can be aggregated and compared with a number."""
        return self.dtype in (bool, int, float) and self.dimension not in ("text", "object")
