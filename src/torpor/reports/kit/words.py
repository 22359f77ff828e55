"""Words of the reports: numbers as text, rows as labels, null as a reason, an audit as a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torpor.audits.conditions import describe_row
from torpor.core.measures import ELSEWHERE
from torpor.core.rows import ROW
from torpor.core.units import PREFIXED, PREFIXES

Row = Mapping[str, Any]
"""One row of an audit's summary; docs/audit-format.md lists the keys."""

_DEFENSES = {
    **dict.fromkeys(("non_adaptive_rejected_rate", "adaptive_rejected_rate"), "this defense rejects no input"),
    "slowdown_ci95": "the audit recorded no interval; one sample has none",
}
_NULLS = {measure.name: measure.null.replace(ELSEWHERE, "") for measure in ROW}


def times(value: float) -> str:
    """Return a factor in words.

    >>> times(3.4), times(21.37), times(16567.2)
    ('3.40x', '21.4x', '16,567x')
    """
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}x"


def percent(share: float) -> str:
    """Return a share of 1 as a percentage.

    >>> percent(0.912)
    '91.2 %'
    """
    return f"{100 * share:.1f} %"


def quantity(value: float, unit: str) -> str:
    """Return a quantity with three digits and a metric prefix.

    >>> quantity(125_300_000, "FLOPs"), quantity(0.0021, "s"), quantity(0, "J")
    ('125 MFLOPs', '2.1 ms', '0 J')
    >>> quantity(0.0021, "dollars"), quantity(12_500, "tokens")
    ('0.0021 dollars', '12,500 tokens')
    """
    if unit not in PREFIXED:
        return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"
    for step, prefix in PREFIXES:
        if abs(value) >= step * 0.9995:
            scaled = value / step
            return f"{scaled:.0f} {prefix}{unit}" if abs(scaled) >= 100 else f"{scaled:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def moment(stored: str) -> str:
    """Return a time as an audit stores it in words.

    >>> moment("2026-01-31T12:00:59+00:00")
    '2026-01-31 12:00:59 UTC'
    """
    return stored.replace("T", " ").replace("+00:00", " UTC")


def duration(seconds: float) -> str:
    """Return a span of time.

    >>> duration(3.24), duration(75), duration(7512)
    ('3.2 s', '1 min 15 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def loops_text(value: float) -> str:
    """Return an increase of decoder steps, given in per cent.

    >>> loops_text(1404.2), loops_text(12.34), loops_text(-0.04)
    ('1,404 %', '12.3 %', '0.0 %')
    """
    return f"{value:,.0f} %" if abs(value) >= 99.95 else f"{round(value, 1) + 0.0:.1f} %"


def steps_text(value: float) -> str:
    """Return a mean number of steps.

    >>> steps_text(8.21), steps_text(512.3), steps_text(10619.6)
    ('8.2', '512', '10,620')
    """
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def titled(name: str) -> str:
    """Return a name as it starts a sentence.

    >>> titled("accuracy"), titled("chrF")
    ('Accuracy', 'chrF')
    """
    return name.capitalize() if name.islower() else name


def undefended(summary: Sequence[Row]) -> list[Row]:
    """Return the rows without any defense.

    >>> len(undefended([{"defense": "none"}, {"defense": "jpeg"}]))
    1
    """
    return [row for row in summary if row.get("defense", "none") == "none"]


def label(row: Row, *, budget: bool = True) -> str:
    """Return what a row ran: attack, budget, and the defense if there was one.

    >>> label({"attack": "deepsloth", "defense": "none", "norm": "Linf", "eps": 8 / 255}, budget=False)
    'deepsloth'
    """
    return describe_row(row if budget else {**row, "eps": None})


def is_missing(value: object) -> bool:
    """Say whether a value of the audit stands for "not measured": null, or a number that is not finite."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def missing(reason: str | None) -> str:
    """Return the words for a value that was not measured."""
    return f"not measured: {reason or 'the audit gives no reason'}"


def reason_for(row: Row, key: str, null: str = "") -> str | None:
    """Return why ``row[key]`` is null: the row's own reason, or what null means by the format or the measure.

    >>> reason_for({"energy_j": None, "energy_reason": "no RAPL"}, "energy_j")
    'no RAPL'
    """
    own = row.get(f"{'bleu' if key == 'chrf' else key.split('_')[0]}_reason")
    if own or key in _DEFENSES:
        return str(own or _DEFENSES[key])
    said = _NULLS.get(key) or null.replace(ELSEWHERE, "")
    if not said and key not in _NULLS:
        from torpor.audits.verdict.gate_grammar import known

        measure = known().at("row").get(key)
        said = "" if measure is None else measure.null.replace(ELSEWHERE, "")
    return said or None


def value_text(row: Row, key: str, form: Callable[[Any], str], null: str = "") -> str:
    """Return ``row[key]`` as text, or the reason why there is none.

    >>> value_text({"headroom_mean": None}, "headroom_mean", percent)
    'not measured: no sample had headroom: the clean cost equals the static bound'
    """
    value = row.get(key)
    return missing(reason_for(row, key, null)) if is_missing(value) else form(value)


def over_clean(row: Row, key: str = "cost_mean") -> float | None:
    """Return ``row[key]`` in units of the row's mean clean cost, None if either was not measured.

    >>> over_clean({"cost_mean": 30.0, "cost_clean_mean": 20.0})
    1.5
    """
    cost, clean = row.get(key), row.get("cost_clean_mean")
    if cost is None or is_missing(cost) or not clean or is_missing(clean):
        return None
    return float(cost) / float(clean)


def at_most(row: Row) -> str | None:
    """Return the certified mean slowdown in words; None where no bound was asked for, or none covers the row.

    >>> at_most({"certified_slowdown_mean": 2.5}), at_most({})
    ('at most 2.50x', None)
    """
    most = row.get("certified_slowdown_mean")
    return None if most is None or is_missing(most) else f"at most {times(most)}"


def natural_factor(audit: Row) -> float | None:
    """Return the benign 99.9th percentile in units of the mean clean cost, None if it was not measured.

    >>> natural_factor({"natural": None}) is None
    True
    """
    value = (audit.get("natural") or {}).get("slowdown_p999")
    return None if value is None or is_missing(value) else float(value)


def costliest(rows: Sequence[Row], kind: str) -> Row | None:
    """Return the row of a kind with the greatest mean slowdown; the tail, then the order, break ties.

    >>> costliest([{"kind": "attack", "slowdown_mean": 2.0, "attack": "a"}], "attack")["attack"]
    'a'
    """
    measured = [row for row in rows if row["kind"] == kind and not is_missing(row.get("slowdown_mean"))]
    keys = ("slowdown_mean", "slowdown_p95", "slowdown_max")
    return max(measured, key=lambda row: [float(row.get(key) or 0) for key in keys], default=None)


def static_factor(rows: Sequence[Row]) -> float | None:
    """Return the largest static bound of several rows in units of the mean clean cost, None if none was recorded.

    Texts differ in what they may cost, so that the bound of one row may be below the cost of another.

    >>> clean = {"cost_clean_mean": 2.0}
    >>> static_factor([{**clean, "cost_static": 6.0}, {**clean, "cost_static": 8.0}])
    4.0
    """
    return max((bound for row in rows if (bound := over_clean(row, "cost_static")) is not None), default=None)


def beside(rows: Sequence[Row], row: Row) -> list[Row]:
    """Return the rows with the budget of ``row``: the controls that it may be compared with.

    >>> rows = [{"norm": "Linf", "eps": 1.0}, {"norm": "L2", "eps": 1.0}]
    >>> beside(rows, rows[1]) == rows[1:]
    True
    """
    return [other for other in rows if (other.get("norm"), other.get("eps")) == (row.get("norm"), row.get("eps"))]


def interval(row: Row, key: str = "slowdown_ci95") -> str | None:
    """Return a 95 % interval such as ``"2.04-2.22"``, None if there is none.

    >>> interval({"slowdown_ci95": [2.04, 2.221]})
    '2.04-2.22'
    """
    pair = row.get(key)
    return None if pair is None or any(map(is_missing, pair)) else f"{pair[0]:.2f}-{pair[1]:.2f}"


def bracket(row: Row) -> str:
    """Return the interval of the mean slowdown in brackets; ``[-]`` of one sample, nothing if none was recorded.

    >>> bracket({"slowdown_ci95": [2.04, 2.221]}), bracket({"slowdown_ci95": None, "n": 1})
    ('[2.04-2.22]', '[-]')
    """
    ci95 = interval(row) or ("-" if row.get("n") == 1 else None)
    return f"[{ci95}]" if ci95 else ""


def confidence(row: Row) -> str:
    """Return the interval of the mean slowdown in a sentence; nothing if none was recorded.

    >>> confidence({"slowdown_ci95": [2.04, 2.221]}), confidence({"slowdown_ci95": None, "n": 1})
    ('95 % CI 2.04-2.22', 'one sample has no interval')
    """
    return f"95 % CI {found}" if (found := interval(row)) else "one sample has no interval" * (row.get("n") == 1)


def defenses(summary: Sequence[Row]) -> list[str]:
    """Return the defenses of a summary, in order.

    >>> defenses([{"defense": "none"}, {"defense": "jpeg"}, {"defense": "none"}])
    ['none', 'jpeg']
    """
    return list(dict.fromkeys(str(row.get("defense", "none")) for row in summary))
