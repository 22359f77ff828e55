"""The grammar of gates: ``[ATTACK][@DEFENSE]: AGG(COLUMN) OP NUMBER[UNIT]``, or a summary key for ``AGG(COLUMN)``.

A limit of a cost may be written as times the mean clean cost: ``p99(cost) < 2x``.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from torpor.core.errors import UsageError
from torpor.core.measures import Catalog, Level
from torpor.core.records import CERTIFIED, RECORD
from torpor.core.rows import ROW
from torpor.core.units import SCALES, scales, symbol

AGGREGATES = ("mean", "p50", "p90", "p95", "p99", "max", "min")
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
UNITS: Mapping[str, Mapping[str, Fraction]] = {
    "ratio": {"": Fraction(1), "x": Fraction(1), "%": Fraction(1, 100)},
    "time": SCALES["seconds"],
    "energy": SCALES["joules"],
    "memory": SCALES["bytes"],
    "percent": {"": Fraction(1), "%": Fraction(1)},
    **{name: {"": Fraction(1)} for name in ("count", "distance", "number")},
}
"""Units of each dimension; those of a cost are its currency's."""
TIMES = "x"
"""Unit of a cost that is written as times the mean clean cost without any defense."""
FEW = 12
"""Names that a message lists; of more it names the nearest and the command that lists them."""
_GATE = re.compile(
    r"""\s*+(?:(?=[^\s:])(?P<selector>[^\s:()<>=!@]++)?(?:@(?P<defense>[^\s()<>=!@]+?))?\s*+:)?
        \s*+(?:(?P<aggregate>\w++)\s*+\(\s*+(?P<column>\w++)\s*+\)|(?P<key>\w++))
        \s*+(?P<op><=|>=|==|!=|<|>)
        \s*+(?P<number>[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?)
        \s*+(?P<unit>[^\W\d_]++|%|)\s*+""",  # possessive: nothing is tried twice, so time is linear
    re.VERBOSE,
)


@cache
def known() -> Catalog:
    """Return the measures of every audit and of the package's own families; an audit carries those of its own.

    >>> known().at("row")["slowdown_mean"].title
    'slowdown'
    """
    from torpor.metrics.efficacy import CLASS, EXITS
    from torpor.metrics.loops import LOOPS
    from torpor.metrics.outputs import OBJECTS

    return Catalog(dict.fromkeys((*RECORD, *CERTIFIED, *ROW, CLASS, *EXITS, *LOOPS, *OBJECTS)))


@dataclass(frozen=True)
class Gate:
    """One parsed gate.

    Attributes:
        metric: per-sample column where ``aggregate`` is set, else key of a summary row.
        op: ``<``, ``<=``, ``>``, ``>=``, ``==`` or ``!=``.
        number: limit as written, in ``unit``.
        unit: as written; empty if none was.
        aggregate: how the samples become one value, or None.
        selector: attack whose rows are gated; None gates every attack.
        defense: name of the defense whose rows are gated, ``"none"`` for those without one; None gates all.
        dimension: what the metric is a number of.
        currency: that costs are in.
    """

    metric: str
    op: str
    number: float
    unit: str = ""
    aggregate: str | None = None
    selector: str | None = None
    defense: str | None = None
    dimension: str = "ratio"
    currency: str = "flops"

    @property
    def units(self) -> Mapping[str, Fraction]:
        """The units that the limit may be written in."""
        return {**scales(self.currency), TIMES: Fraction(1)} if self.dimension == "cost" else UNITS[self.dimension]

    @property
    def measure(self) -> str:
        """The left-hand side, such as ``"p95(slowdown)"``."""
        return self.metric if self.aggregate is None else f"{self.aggregate}({self.metric})"

    @property
    def limit(self) -> float:
        """The right-hand side in the metric's own unit: 1.5 for ``150%``, 0.01 (seconds) for ``10ms``."""
        scale = self.units[self.unit]
        return self.number * scale.numerator / scale.denominator

    @property
    def over_clean(self) -> bool:
        """Whether limit and values are costs over the mean clean cost without any defense.

        >>> parse_gate("p99(cost) < 2x").over_clean, parse_gate("p99(slowdown) < 2x").over_clean
        (True, False)
        """
        return self.dimension == "cost" and self.unit == TIMES

    def holds(self, value: float) -> bool:
        """Whether ``value``, in the metric's own unit, satisfies the gate."""
        return OPERATORS[self.op](value, self.limit)

    def show(self, value: float) -> str:
        """Write ``value``, given in the metric's own unit, in the gate's unit; that of the metric if it has none."""
        scale = self.units[self.unit]
        unit = self.unit or shown_unit(self.metric, self.dimension, self.currency)
        unit = f" {unit}" if unit.isalpha() and unit != TIMES else unit
        return f"{value * scale.denominator / scale.numerator:.6g}{unit}"

    def __str__(self) -> str:
        defense = "" if self.defense is None else f"@{self.defense}"
        prefix = f"{self.selector or ''}{defense}: " if self.selector or defense else ""
        return f"{prefix}{self.measure} {self.op} {repr(self.number).removesuffix('.0')}{self.unit}"


def shown_unit(metric: str, dimension: str, currency: str) -> str:
    """Return what follows a value of a metric where the user wrote no unit; empty for plain numbers.

    >>> [shown_unit(*each, "flops") for each in (("slowdown", "ratio"), ("headroom", "ratio"), ("cost", "cost"))]
    ['x', '', ' FLOPs']
    """
    if dimension == "ratio":
        return TIMES if "slowdown" in metric else ""
    units = {"cost": f" {symbol(currency)}", "time": " s", "energy": " J", "memory": " B", "percent": "%"}
    return units.get(dimension, "")


def parse_gate(text: str, catalog: Catalog | None = None, currency: str = "flops") -> Gate:
    """Parse one gate.

    Args:
        text: such as ``"p95(slowdown) < 1.5"``, ``"latency_s_p50 < 10ms"``, ``"clean: mean(cost) < 20MFLOPs"`` or
            ``"@jpeg:75: p95(slowdown) < 1.5"``. Names of version 1 of the format, such as ``flops``, are understood.
        catalog: of what can be gated; :func:`known` if None.
        currency: that costs are in.

    Raises:
        UsageError: on malformed text, an unknown aggregate or metric, or a unit that the metric does not have.

    >>> gate = parse_gate("deepsloth: p95(slowdown) <= 150%")
    >>> gate.selector, gate.measure, gate.limit, str(gate)
    ('deepsloth', 'p95(slowdown)', 1.5, 'deepsloth: p95(slowdown) <= 150%')
    """
    found = _GATE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"expected a gate such as 'p95(slowdown) < 1.5' or 'clean: mean(cost) < 20MFLOPs', got {text!r}; write "
            f"AGG(METRIC) OP NUMBER[UNIT] with AGG in {', '.join(AGGREGATES)} and OP in {' '.join(OPERATORS)}"
        )
    aggregate, written = found["aggregate"], found["column"] or found["key"]
    every = known() if catalog is None else catalog
    columns, keys = ({name: each for name, each in every.at(at).items() if each.numeric} for at in ("sample", "row"))
    if aggregate is None:
        metric = written if written in keys else _today("row", written)
        _check_key(metric, keys, columns, text)
        dimension = keys[metric].dimension
    else:
        _check_known("an aggregate", aggregate, AGGREGATES, text)
        metric = written if written in columns else _today("sample", written)
        _check_known("a per-sample metric", metric, columns, text)
        dimension = columns[metric].dimension
    rows = found["selector"], found["defense"]
    gate = Gate(metric, found["op"], float(found["number"]), found["unit"], aggregate, *rows, dimension, currency)
    units = gate.units
    if gate.unit not in units:
        names = ", ".join(name or "no unit" for name in units)
        got = repr(gate.unit) if gate.unit else "none"
        raise UsageError(f"expected {names} for {gate.measure}, got {got} in {text!r}{_suggestion(gate.unit, units)}")
    if not math.isfinite(gate.limit):
        raise UsageError(f"expected a finite limit, got {found['number']} in {text!r}; write a smaller number")
    return gate


def _today(level: Level, name: str) -> str:
    """Return what a measure of version 1 of the format is called today."""
    from torpor.audits.version1 import COLUMNS, KEYS

    return (KEYS if level == "row" else COLUMNS).get(name, name)


def _check_key(key: str, keys: Iterable[str], columns: Iterable[str], text: str) -> None:
    if key not in keys and key in columns:
        raise UsageError(
            f"expected an aggregate around the per-sample metric {key!r}, got none in {text!r}; write mean({key}), or "
            f"another of {', '.join(AGGREGATES)}"
        )
    _check_known("a summary metric", key, keys, text)


def _check_known(what: str, name: str, known: Iterable[str], text: str) -> None:
    if name not in known:
        near, names = _suggestion(name, known), list(known)
        if len(names) > FEW:
            raise UsageError(f"expected {what}, got {name!r} in {text!r}{near}; see: torpor list measures")
        raise UsageError(f"expected {what} of {', '.join(names)}, got {name!r} in {text!r}{near}")


def _suggestion(name: str, known: Iterable[str]) -> str:
    lowered = {candidate.lower(): candidate for candidate in known if candidate}
    close = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"; did you mean {lowered[close[0]]}?" if close else ""
