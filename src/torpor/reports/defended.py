"""What defenses hold, and what they cost: a table, and a chart of both attackers against the utility that is left."""

from __future__ import annotations

from collections.abc import Sequence

from torpor.reports.kit import plots, words
from torpor.reports.kit.plots import COLORS, REFERENCE, Chart, Key
from torpor.reports.kit.tables import Column, Table, filled
from torpor.reports.kit.words import Row, percent, times, value_text

ATTACKERS = {"non-adaptive": "non_adaptive", "adaptive": "adaptive"}
"""Attackers, and how the keys of :func:`defense_rows` that are theirs begin."""
CLEAN = ("utility", "utility_name", "rejected_rate", "latency_slowdown", "latency_valid", "n")
"""Keys of a clean row that describe its defense."""
PAID = 1.1
"""A defense by which clean inputs cost so many times as much, or more, is said to be paid for by them."""
DEGRADED = ("changed_rate", "changed_cost_ratio", "hurt", "utility_loss_mean", "utility_loss_max")


def defense_rows(summary: Sequence[Row]) -> list[dict[str, object]]:
    """Return what is reported of each defense, the undefended target first; nothing where there is no defense.

    >>> clean = {"kind": "clean", "attack": "clean", "slowdown_mean": 1.0, "utility": 0.9}
    >>> rows = defense_rows([{**clean, "defense": "none"}, {**clean, "defense": "jpeg", "slowdown_mean": 1.1}])
    >>> [(row["defense"], row["overhead"]) for row in rows]
    [('none', 1.0), ('jpeg', 1.1)]
    """
    names = words.defenses(summary)
    if names in ([], ["none"]):
        return []
    found = []
    for name in names:
        rows = [row for row in summary if row.get("defense", "none") == name]
        clean = next((row for row in rows if row["kind"] == "clean"), {})
        said: dict[str, object] = {
            **{key: clean.get(key) for key in (*CLEAN, *DEGRADED)},
            "attack": name,
            "defense": name,
            "kind": "defense",
            "overhead": clean.get("slowdown_mean"),
            "bound": words.static_factor(rows),
        }
        for attacker, begin in ATTACKERS.items():
            own = [row for row in rows if name == "none" or row.get("attacker") == attacker]
            if worst := words.costliest(own, "attack"):
                keys = ("slowdown_mean", "slowdown_p95", "utility", "rejected_rate")
                said |= {f"{begin}_{key}": worst.get(key) for key in keys}
                said[f"{begin}_ci95"] = worst.get("slowdown_ci95")
                said[f"{begin}_attack"] = words.label({**worst, "defense": "none", "attacker": None})
        found.append(said)
    return found


def sentences(summary: Sequence[Row]) -> list[str]:
    """Say of each defense whether it helps against the worst known of all attackers, and what it costs clean inputs."""
    bare, *rest = defense_rows(summary) or [{}]
    return [_sentence(row, bare) for row in ([bare, *rest] if bare.get("defense") != "none" else rest)]


def worst_known(row: Row) -> str:
    """Return the name of the attacker who gets most of a defended target; empty if none was measured.

    >>> worst_known({"adaptive_slowdown_mean": 2.0, "non_adaptive_slowdown_mean": 3.0})
    'non-adaptive'
    """
    known = {who: float(row[key]) for who, begin in ATTACKERS.items() if (key := f"{begin}_slowdown_mean") in row}
    return max(known, key=lambda who: known[who], default="")


def _sentence(row: Row, bare: Row) -> str:
    """Say what the worst known attack gets of a defended target, against the undefended one, and at which price."""
    name, who = str(row.get("utility_name") or "utility"), worst_known(row)
    price = f"clean inputs cost {value_text(row, 'overhead', times)}, {name} {value_text(row, 'utility', percent)}"
    if bare.get("defense") == "none" and not words.is_missing(bare.get("utility")):
        price += f" (without it {value_text(bare, 'utility', percent)})"
    if not words.is_missing(row.get("rejected_rate")):
        price += f", {value_text(row, 'rejected_rate', percent)} rejected"
    begin = ATTACKERS.get(who, "adaptive")
    found = f"worst known mean slowdown {value_text(row, f'{begin}_slowdown_mean', times)}"
    before = bare.get("non_adaptive_slowdown_mean") if bare.get("defense") == "none" else None
    if not who or before is None:
        return f"Defended by {row['defense']}: {found}; {price}."
    intervals = row.get(f"{begin}_ci95"), bare.get("non_adaptive_ci95")
    apart, unknown = _apart(*intervals), None in intervals
    lower = float(row[f"{begin}_slowdown_mean"]) < float(str(before))
    maybe = f"not shown to help, {'there is no interval' if unknown else 'the intervals overlap'}"
    helps = "helps" if lower and apart else maybe if lower else "does not help"
    if not words.is_missing(row.get("overhead")) and float(row["overhead"]) >= PAID:
        helps += ", and clean inputs pay for it"
    by = f"{row[f'{begin}_attack']}, {who}; without it {times(float(str(before)))}"
    return f"Defended by {row['defense']}: {helps}. {found[0].upper()}{found[1:]} ({by}); {price}."


def _apart(defended: object, bare: object) -> bool:
    """Tell whether the interval of a defended target lies below that of the undefended one."""
    return isinstance(defended, list) and isinstance(bare, list) and defended[1] < bare[0]


def defense_table(summary: Sequence[Row]) -> Table | None:
    """Return one row per defense: what it costs clean inputs, and what both attackers still get."""
    rows = defense_rows(summary)
    if not rows:
        return None
    name = next((str(row["utility_name"]) for row in rows if row.get("utility_name")), "utility")
    columns = [
        Column("worst known: mean slowdown", "over the undefended clean cost, of all attackers", only=_worst_slowdown),
        Column("worst known: by", "the costliest attack, and who makes it", only=_worst_attack),
        Column("clean slowdown", "mean over clean inputs of cost over that without any defense", "overhead", times),
        Column(f"clean {name}", "of clean inputs", "utility", percent),
        Column("clean rejected", "clean inputs that are rejected", "rejected_rate", percent, optional=True),
        Column("clean latency", "seconds over those without any defense, if they are valid", only=_latency),
        Column(
            "static bound",
            "what no input of this audit can exceed, over the mean clean cost without any defense",
            "bound",
            times,
        ),
    ]
    for who, begin in ATTACKERS.items():
        same = "of the same attack"
        columns += [
            Column(f"{who}: mean slowdown", "of the costliest attack", f"{begin}_slowdown_mean", times),
            Column(f"{who}: p95", same, f"{begin}_slowdown_p95", times),
            Column(f"{who}: {name}", same, f"{begin}_utility", percent),
            Column(f"{who}: rejected", same, f"{begin}_rejected_rate", percent, optional=True),
        ]
    return _by_defense(columns, rows)


def degraded_table(summary: Sequence[Row]) -> Table | None:
    """Return one row per defense: which clean inputs it hurts, and by how much; None without defenses."""
    rows = [row for row in defense_rows(summary) if row["defense"] != "none"]
    if not rows:
        return None
    name = next((str(row["utility_name"]) for row in rows if row.get("utility_name")), "utility")
    columns = [
        Column("clean inputs", "how many", "n"),
        Column("another output", "or none, if rejected", "changed_rate", percent),
        Column(
            "their clean cost",
            "over the mean of all: above 1 the expensive ones are hit",
            "changed_cost_ratio",
            times,
        ),
        Column(f"lose {name}", "how many of the clean inputs", "hurt", optional=True),
        Column(f"mean loss of {name}", "over all clean inputs", "utility_loss_mean", percent, optional=True),
        Column("largest loss", "of one clean input", "utility_loss_max", percent, optional=True),
    ]
    return _by_defense(columns, rows)


def _worst_slowdown(table: Table, row: Row) -> str:
    begin = ATTACKERS.get(worst_known(row), "adaptive")
    return table.cell(row, f"{begin}_slowdown_mean", times)


def _worst_attack(_: Table, row: Row) -> str:
    who = worst_known(row)
    name = str(row.get(f"{ATTACKERS[who]}_attack", "")) if who else "none was run"
    return name if row["defense"] == "none" or not who else f"{name}, {who}"


def _latency(table: Table, row: Row) -> str:
    return "INVALID" if row.get("latency_valid") is False else table.cell(row, "latency_slowdown", times)


def _by_defense(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Return a table whose rows are labeled by nothing but the defense."""
    table = filled(columns, rows)
    table.body = [(str(row["defense"]), "attack", cells) for row, (_, _, cells) in zip(rows, table.body, strict=True)]
    return table


def pareto(summary: Sequence[Row], name: str = "defenses") -> Chart | None:
    """Draw each defense where its clean utility and the worst attack on it are; None without defenses.

    Args:
        summary: of an audit.
        name: of the chart, once per page.
    """
    found = defense_rows(summary)
    rows = [row for row in found if not any(words.is_missing(row[key]) for key in ("utility", "overhead"))]
    if len(rows) < 2:
        return None
    figure, keys, heights = plots.figure(), [], list[float]()
    utility = words.titled(str(rows[0].get("utility_name") or "utility"))
    for place, row in enumerate(rows):
        free = row["defense"] == "none"
        color = REFERENCE if free else COLORS[(place - 1) % len(COLORS)]
        dash = "dot" if place > len(COLORS) else "solid"
        points = [(100 * float(str(row["utility"])), row.get(f"{begin}_slowdown_mean")) for begin in ATTACKERS.values()]
        remark = f"clean cost {times(float(str(row['overhead'])))}"
        plots.pair(figure, str(row["defense"]), color, points, remark, dash)
        keys.append(Key(str(row["defense"]), color, plots.DASHES[dash]))
        heights += [float(str(height)) for _, height in points if height is not None]
    if heights and max(heights) > 10 * min(heights):
        figure.update_yaxes(type="log")
    note = (
        "Right and low is best. A hollow mark is the worst attack that does not know of the defense, the full mark "
        "the worst one made through it: what holds is the higher of the two. Costs include the defense's own."
    )
    axes = (f"{utility} of clean inputs (%)", "worst mean slowdown")
    return plots.chart(name, "What a defense holds against what it costs", note, keys, figure, axes)
