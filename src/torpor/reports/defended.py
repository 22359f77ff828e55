"""What defenses hold, and what they cost: a table, and a chart of both attackers against the utility that is left."""

from __future__ import annotations

from collections.abc import Sequence

from torpor.reports import plots, words
from torpor.reports.plots import COLORS, REFERENCE, Chart, Key
from torpor.reports.tables import Column, Table, filled
from torpor.reports.words import Row, percent, times

ATTACKERS = ("blind", "adaptive")


def undefended(summary: Sequence[Row]) -> list[Row]:
    """Return the rows without any defense.

    >>> len(undefended([{"defense": "none"}, {"defense": "jpeg"}]))
    1
    """
    return [row for row in summary if row.get("defense", "none") == "none"]


def defense_rows(summary: Sequence[Row]) -> list[dict[str, object]]:
    """Return what is said of each defense, the undefended target first; nothing where there is no defense.

    >>> clean = {"kind": "clean", "attack": "clean", "flops_mean": 10.0, "flops_clean_mean": 10.0, "utility": 0.9}
    >>> rows = defense_rows([{**clean, "defense": "none"}, {**clean, "defense": "jpeg", "flops_mean": 11.0}])
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
            **{key: clean.get(key) for key in ("utility", "utility_name", "refused_rate", "latency_slowdown")},
            "attack": name,
            "defense": name,
            "kind": "defense",
            "overhead": words.over_clean(clean),
        }
        for attacker in ATTACKERS:
            own = [row for row in rows if name == "none" or row.get("attacker") == attacker]
            if worst := words.costliest(own, "attack"):
                keys = ("slowdown_mean", "slowdown_p95", "utility", "refused_rate")
                said |= {f"{attacker}_{key}": worst.get(key) for key in keys}
                said[f"{attacker}_attack"] = words.label({**worst, "defense": "none", "attacker": None})
        found.append(said)
    return found


def defense_table(summary: Sequence[Row]) -> Table | None:
    """Return one row per defense: what it costs clean inputs, and what both attackers still get."""
    rows = defense_rows(summary)
    if not rows:
        return None
    name = next((str(row["utility_name"]) for row in rows if row.get("utility_name")), "utility")
    columns = [
        Column("clean cost", "mean FLOPs of clean inputs over those without any defense", "overhead", times),
        Column("clean latency", "seconds of clean inputs over those without any defense", "latency_slowdown", times),
        Column(f"clean {name}", "of clean inputs", "utility", percent),
        Column("clean refused", "clean inputs that are turned away", "refused_rate", percent, optional=True),
    ]
    for who in ATTACKERS:
        same = "of the same attack"
        columns += [
            Column(f"{who}: worst mean slowdown", "over the undefended clean cost", f"{who}_slowdown_mean", times),
            Column(f"{who}: p95", same, f"{who}_slowdown_p95", times),
            Column(f"{who}: {name}", same, f"{who}_utility", percent),
            Column(f"{who}: refused", same, f"{who}_refused_rate", percent, optional=True),
            Column(f"{who}: attack", "which one is the costliest", f"{who}_attack"),
        ]
    table = filled(columns, rows)
    table.body = [(str(row["defense"]), "attack", cells) for row, (_, _, cells) in zip(rows, table.body, strict=True)]
    return table


def pareto(summary: Sequence[Row]) -> Chart | None:
    """Draw each defense where its clean utility and the worst attack behind it are; None without defenses."""
    rows = [row for row in defense_rows(summary) if not words.is_missing(row["utility"])]
    if len(rows) < 2:
        return None
    figure, keys = plots.figure(), []
    name = words.titled(str(rows[0].get("utility_name") or "utility"))
    for place, row in enumerate(rows):
        free = row["defense"] == "none"
        color = REFERENCE if free else COLORS[(place - 1) % len(COLORS)]
        points = [(100 * float(str(row["utility"])), row.get(f"{who}_slowdown_mean")) for who in ATTACKERS]
        plots.pair(figure, str(row["defense"]), color, points, f"clean cost {times(float(str(row['overhead'])))}")
        keys.append(Key(str(row["defense"]), color, None))
    note = (
        "Right and low is best. A hollow mark is the worst attack that does not know of the defense, the full mark "
        "the worst one made through it: what holds is the higher of the two. Costs include the defense's own."
    )
    axes = (f"{name} of clean inputs (%)", "worst mean slowdown")
    return plots.chart("defenses", "What a defense holds against what it costs", note, keys, figure, axes)
