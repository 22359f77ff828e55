"""Words of the reports: numbers as text, rows as labels, null as a reason, an audit as a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
"""One row of an audit's summary; docs/audit-format.md lists the keys."""

FLAGS = {
    "no-effect": "No sample became dearer by even one unit: the target is immune, or the attack does not work on it.",
    "dead-gradients": "The first gradient was exactly zero for most samples, so the search was blind; read the "
    "slowdown as a lower limit.",
    "budget-unused": "The attack left much of its budget unspent; more or larger steps may cost the target more.",
    "surrogate-not-tracking": "For over a tenth of the samples the attack's objective fell but the cost did not rise: "
    "what it climbs is not what is billed, and an attack with another objective may cost the target more.",
    "black-box-beats-white-box": "For over a tenth of the samples the ensemble's gradient-free member won: the "
    "gradients mislead, and the worst case has not been found.",
}

_ALWAYS_NULL = {
    "headroom_mean": "no sample had headroom: the clean cost equals the static bound",
    "slowdown_ci95": "the audit recorded no interval",
    "latency_slowdown": "no paired wall-clock run",
}


def times(value: float) -> str:
    """Return a factor in words.

    >>> times(3.4), times(21.37), times(412.2)
    ('3.40x', '21.4x', '412x')
    """
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}x"


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
    """
    steps = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
    for step, prefix in steps:
        if abs(value) >= step * 0.9995:
            scaled = value / step
            return f"{scaled:.0f} {prefix}{unit}" if abs(scaled) >= 100 else f"{scaled:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def eps_text(norm: str, eps: float) -> str:
    """Return a radius as people write it: Linf in 255ths where it is a whole number of them.

    >>> eps_text("Linf", 8 / 255), eps_text("Linf", 0.031), eps_text("L2", 0.5)
    ('8/255', '0.031', '0.5')
    """
    levels = eps * 255
    whole = norm == "Linf" and round(levels) >= 1 and abs(levels - round(levels)) < 1e-3
    return f"{round(levels)}/255" if whole else f"{eps:.4g}"


def budget_text(row: Row) -> str:
    """Return a row's budget in words.

    >>> budget_text({"norm": "Linf", "eps": 8 / 255}), budget_text({"norm": None, "eps": None})
    ('Linf 8/255', 'no budget')
    """
    norm, eps = row.get("norm"), row.get("eps")
    return "no budget" if norm is None or eps is None else f"{norm} {eps_text(norm, eps)}"


def label(row: Row, *, budget: bool = True) -> str:
    """Return what a row ran: attack, budget, and the defense if there was one.

    >>> label({"attack": "deepsloth", "defense": "none", "norm": "Linf", "eps": 8 / 255})
    'deepsloth, Linf 8/255'
    """
    parts = [str(row["attack"])]
    if budget and row.get("eps") is not None:
        parts.append(budget_text(row))
    if row.get("defense", "none") != "none":
        parts.append(f"against {row['defense']}")
    return ", ".join(parts)


def is_missing(value: object) -> bool:
    """Say whether a value of the audit stands for "not measured": null, or a number that is not finite."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def missing(reason: str | None) -> str:
    """Return the words for a value that nobody measured."""
    return f"not measured: {reason or 'the audit gives no reason'}"


def reason_for(row: Row, key: str) -> str | None:
    """Return why ``row[key]`` is null: the row's own reason, or what the format says about the key.

    >>> reason_for({"energy_j": None, "energy_reason": "no RAPL"}, "energy_j")
    'no RAPL'
    """
    own = row.get(f"{key.split('_')[0]}_reason")
    return str(own) if own else _ALWAYS_NULL.get(key)


def value_text(row: Row, key: str, form: Callable[[Any], str]) -> str:
    """Return ``row[key]`` as text, or the reason why there is none.

    >>> value_text({"headroom_mean": None}, "headroom_mean", percent)
    'not measured: no sample had headroom: the clean cost equals the static bound'
    """
    value = row.get(key)
    return missing(reason_for(row, key)) if is_missing(value) else form(value)


def explain_flag(flag: str) -> str:
    """Return the sentence that explains a reliability flag.

    >>> explain_flag("budget-unused")[:10]
    'The attack'
    """
    return FLAGS.get(flag, "This report has no explanation for the flag; treat the row as a lower limit.")


def over_clean(row: Row, key: str = "flops_mean") -> float | None:
    """Return ``row[key]`` in units of the row's mean clean FLOPs, None if either was not measured.

    >>> over_clean({"flops_mean": 30.0, "flops_clean_mean": 20.0})
    1.5
    """
    cost, clean = row.get(key), row.get("flops_clean_mean")
    if cost is None or is_missing(cost) or not clean or is_missing(clean):
        return None
    return float(cost) / float(clean)


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


def interval(row: Row, key: str = "slowdown_ci95") -> str | None:
    """Return a 95 % interval such as ``"2.04-2.22"``, None if there is none.

    >>> interval({"slowdown_ci95": [2.04, 2.221]})
    '2.04-2.22'
    """
    pair = row.get(key)
    return None if pair is None or any(map(is_missing, pair)) else f"{pair[0]:.2f}-{pair[1]:.2f}"


def efficacy_note(exit_costs: Sequence[float]) -> str:
    """Explain both forms of early-exit efficacy and how low the trapezoid can go for these exits.

    >>> "below 0.150" in efficacy_note([0.4, 0.7, 1.0])
    True
    """
    from torpor.metrics.efficacy import eec_floor

    note = (
        "Early-exit efficacy is near 1 when samples leave early and falls as they stay. The step form is 1 minus the "
        "mean cost as a share of the static bound, so it is 0 when every sample runs to the end. The trapezoid form, "
        "the area under the curve of samples gone against cost, joins the exits by straight lines"
    )
    if not exit_costs:
        return f"{note}."
    return (
        f"{note} and thereby credits half of the last stretch that no sample saved: here it cannot fall below "
        f"{eec_floor(exit_costs):.3f}, even if every sample runs to the end."
    )


def defenses(summary: Sequence[Row]) -> list[str]:
    """Return the defenses of a summary, in order.

    >>> defenses([{"defense": "none"}, {"defense": "jpeg"}, {"defense": "none"}])
    ['none', 'jpeg']
    """
    return list(dict.fromkeys(str(row.get("defense", "none")) for row in summary))


def verdict(audit: Row) -> list[str]:
    """Say what an audit found, one sentence per point: cost, reference costs, utility, caveats; defense by defense."""
    sentences = []
    for defense in defenses(audit["summary"]) or ["none"]:
        rows = [row for row in audit["summary"] if row.get("defense", "none") == defense]
        worst = costliest(rows, "attack")
        if worst is None:
            against = "" if defense == "none" else f" against {defense}"
            sentences.append(f"Worst slowdown {missing(f'no attack was run{against}')}.")
            continue
        sentences += [_cost_sentence(worst, costliest(rows, "control")), _reference_sentence(worst, audit)]
        sentences.append(_utility_sentence(worst, next((row for row in rows if row["kind"] == "clean"), None)))
        if worst["flags"]:
            sentences.append(f"Lower limit, not the worst case: this row is flagged {', '.join(worst['flags'])}.")
    return sentences


def _cost_sentence(worst: Row, control: Row | None) -> str:
    figures = [f"p95 {value_text(worst, 'slowdown_p95', times)}", f"mean {times(worst['slowdown_mean'])}"]
    figures += [f"95 % CI {ci95}"] if (ci95 := interval(worst)) else []
    against = "no control was run"
    if control is not None:
        against = f"strongest control {times(control['slowdown_mean'])} in the mean"
    tops = value_text(worst, "slowdown_max", times)
    start = "No attack raised the mean cost. " if worst["slowdown_mean"] <= 1 else ""
    return f"{start}Worst slowdown {tops} ({', '.join(figures)}) by {label(worst)}; {against}."


def _reference_sentence(worst: Row, audit: Row) -> str:
    costs = (
        ("attacked", over_clean(worst), "no mean cost was recorded"),
        ("costliest natural input (99.9th percentile)", natural_factor(audit), "no benign inputs were profiled"),
        ("static bound", over_clean(worst, "flops_static"), "no static bound was recorded"),
    )
    said = [f"{name} {missing(reason) if value is None else times(value)}" for name, value, reason in costs]
    return f"In units of the mean clean cost: {', '.join(said)}."


def _utility_sentence(worst: Row, clean: Row | None) -> str:
    name = str(worst.get("utility_name") or "utility").capitalize()
    before = "not measured" if clean is None else value_text(clean, "utility", percent)
    agreement = value_text(worst, "agreement", percent)
    return f"{name} {value_text(worst, 'utility', percent)} (clean {before}); predictions unchanged: {agreement}."
