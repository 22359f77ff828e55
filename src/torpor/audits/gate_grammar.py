"""The grammar of gates: ``[ATTACK][@DEFENSE]: AGG(COLUMN) OP NUMBER[UNIT]``, or a summary key for ``AGG(COLUMN)``."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from torpor.core.errors import UsageError

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
    "flops": {
        "": Fraction(1),
        "FLOP": Fraction(1),
        "FLOPs": Fraction(1),
        "KFLOPs": Fraction(10**3),
        "MFLOPs": Fraction(10**6),
        "GFLOPs": Fraction(10**9),
    },
    "time": {"s": Fraction(1), "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6)},
    "energy": {"J": Fraction(1), "mJ": Fraction(1, 10**3)},
    "memory": {"B": Fraction(1), "KiB": Fraction(2**10), "MiB": Fraction(2**20)},
    "count": {"": Fraction(1)},
    "percent": {"": Fraction(1), "%": Fraction(1)},
    "distance": {"": Fraction(1)},
}
"""Units of each dimension, in FLOPs, seconds, joules or bytes. Where "" is missing, the unit must be written."""

COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("slowdown", "headroom", "utility", "utility_clean", "agreement"), "ratio"),
    **dict.fromkeys(("flops", "flops_clean", "flops_static"), "flops"),
    **dict.fromkeys(("linf", "l2", "l1"), "distance"),
    **dict.fromkeys(("exit", "forwards", "backwards", "steps", "steps_clean", "edits"), "count"),
    **dict.fromkeys(("similarity", "capped", "capped_clean", "clean_recall"), "ratio"),
    **dict.fromkeys(("kept", "kept_clean"), "count"),
    "i_loops": "percent",
}
"""Dimension of each per-sample column that can be aggregated."""

KEYS: Mapping[str, str] = {
    **dict.fromkeys((f"slowdown_{name}" for name in ("mean", "p50", "p95", "p99", "max")), "ratio"),
    **dict.fromkeys(("headroom_mean", "efficacy_eec", "efficacy_step", "utility", "agreement"), "ratio"),
    **dict.fromkeys(("flops_mean", "flops_clean_mean", "flops_static"), "flops"),
    **dict.fromkeys(("linf_max", "l2_mean", "l1_mean", "bleu", "chrf"), "distance"),
    **dict.fromkeys(("i_loops_mean", "i_loops_max", "i_loops_limit", "cap4_i_loops_mean"), "percent"),
    **dict.fromkeys(("token_ratio_of_means", "token_mean_of_ratios", "cap_hit_rate", "cap_hit_rate_clean"), "ratio"),
    **dict.fromkeys(("cap4_hit_rate", "similarity_mean", "ogf_mean"), "ratio"),
    **dict.fromkeys(("steps_mean", "steps_clean_mean", "edits_mean", "cap"), "count"),
    **dict.fromkeys(("n", "forwards", "backwards", "kept_mean", "kept_clean_mean"), "count"),
    **dict.fromkeys(("clean_recall_mean", "map50", "map", "mota", "idf1"), "ratio"),
    **dict.fromkeys(("refused_rate", "changed_rate", "changed_cost_ratio", "no_headroom_rate"), "ratio"),
    **dict.fromkeys(("utility_loss_mean", "utility_loss_max"), "ratio"),
    "hurt": "count",
    **dict.fromkeys(("latency_s_p50", "attack_seconds"), "time"),
    "latency_slowdown": "ratio",
    "i_latency": "percent",
    "energy_j": "energy",
    "memory_bytes": "memory",
}
"""Dimension of each scalar of a summary row."""

_GATE = re.compile(
    r"""\s*+(?:(?=[^\s:])(?P<selector>[^\s:()<>=!@]++)?(?:@(?P<defense>[^\s()<>=!@]+?))?\s*+:)?
        \s*+(?:(?P<aggregate>\w++)\s*+\(\s*+(?P<column>\w++)\s*+\)|(?P<key>\w++))
        \s*+(?P<op><=|>=|==|!=|<|>)
        \s*+(?P<number>[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?)
        \s*+(?P<unit>[^\W\d_]++|%|)\s*+""",  # possessive: nothing is tried twice, so time is linear
    re.VERBOSE,
)


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
        defense: name of the defense behind which rows are gated, ``"none"`` for those without one; None gates all.
    """

    metric: str
    op: str
    number: float
    unit: str = ""
    aggregate: str | None = None
    selector: str | None = None
    defense: str | None = None

    @property
    def dimension(self) -> str:
        """What the metric measures: a key of :data:`UNITS`."""
        return (KEYS if self.aggregate is None else COLUMNS)[self.metric]

    @property
    def measure(self) -> str:
        """The left-hand side, such as ``"p95(slowdown)"``."""
        return self.metric if self.aggregate is None else f"{self.aggregate}({self.metric})"

    @property
    def limit(self) -> float:
        """The right-hand side in the metric's own unit: 1.5 for ``150%``, 0.01 (seconds) for ``10ms``."""
        scale = UNITS[self.dimension][self.unit]
        return self.number * scale.numerator / scale.denominator

    def holds(self, value: float) -> bool:
        """Whether ``value``, in the metric's own unit, satisfies the gate."""
        return OPERATORS[self.op](value, self.limit)

    def show(self, value: float) -> str:
        """Write ``value``, given in the metric's own unit, in the gate's unit."""
        scale = UNITS[self.dimension][self.unit]
        return f"{value * scale.denominator / scale.numerator:.6g}{self.unit}"

    def __str__(self) -> str:
        behind = "" if self.defense is None else f"@{self.defense}"
        prefix = f"{self.selector or ''}{behind}: " if self.selector or behind else ""
        return f"{prefix}{self.measure} {self.op} {repr(self.number).removesuffix('.0')}{self.unit}"


def parse_gate(text: str) -> Gate:
    """Parse one gate.

    Args:
        text: such as ``"p95(slowdown) < 1.5"``, ``"latency_s_p50 < 10ms"``, ``"clean: mean(flops) < 20MFLOPs"`` or
            ``"@jpeg:75: p95(slowdown) < 1.5"``.

    Raises:
        UsageError: on malformed text, an unknown aggregate or metric, or a unit that the metric does not have.

    >>> gate = parse_gate("deepsloth: p95(slowdown) <= 150%")
    >>> gate.selector, gate.measure, gate.limit, str(gate)
    ('deepsloth', 'p95(slowdown)', 1.5, 'deepsloth: p95(slowdown) <= 150%')
    """
    found = _GATE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"expected a gate such as 'p95(slowdown) < 1.5' or 'clean: mean(flops) < 20MFLOPs', got {text!r}; write "
            f"AGG(METRIC) OP NUMBER[UNIT] with AGG in {', '.join(AGGREGATES)} and OP in {' '.join(OPERATORS)}"
        )
    aggregate, column, key = found["aggregate"], found["column"], found["key"]
    if aggregate is None:
        _check_key(key, text)
    else:
        _check_known("an aggregate", aggregate, AGGREGATES, text)
        _check_known("a per-sample metric", column, COLUMNS, text)
    rows = found["selector"], found["defense"]
    gate = Gate(column or key, found["op"], float(found["number"]), found["unit"], aggregate, *rows)
    units = UNITS[gate.dimension]
    if gate.unit not in units:
        names = ", ".join(name or "no unit" for name in units)
        got = repr(gate.unit) if gate.unit else "none"
        raise UsageError(f"expected {names} for {gate.measure}, got {got} in {text!r}{_suggestion(gate.unit, units)}")
    if not math.isfinite(gate.limit):
        raise UsageError(f"expected a finite limit, got {found['number']} in {text!r}; write a smaller number")
    return gate


def _check_key(key: str, text: str) -> None:
    if key not in KEYS and key in COLUMNS:
        raise UsageError(
            f"expected an aggregate around the per-sample metric {key!r}, got none in {text!r}; write mean({key}), or "
            f"another of {', '.join(AGGREGATES)}"
        )
    _check_known("a summary metric", key, KEYS, text)


def _check_known(what: str, name: str, known: Iterable[str], text: str) -> None:
    if name not in known:
        raise UsageError(f"expected {what} of {', '.join(known)}, got {name!r} in {text!r}{_suggestion(name, known)}")


def _suggestion(name: str, known: Iterable[str]) -> str:
    lowered = {candidate.lower(): candidate for candidate in known if candidate}
    close = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"; did you mean {lowered[close[0]]}?" if close else ""
