"""Charts of the HTML report, and the records that they draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torpor.audits.conditions import COLUMNS as KEY
from torpor.audits.conditions import RowKey
from torpor.core.budget import eps_axis
from torpor.reports.kit import plots
from torpor.reports.kit.plots import CLEAN, COLORS, CONTROL, Chart, Key, Series
from torpor.reports.kit.words import (
    Row,
    beside,
    costliest,
    is_missing,
    label,
    natural_factor,
    over_clean,
    static_factor,
    times,
    titled,
)

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

    from torpor.audits.curves import SampleCurve
    from torpor.audits.read import SavedAudit

COLUMNS = (
    *("sample", "attack", "defense", "attacker", "norm", "eps", "agreement"),
    *("cost_clean", "cost", "cost_static", "slowdown", "linf", "edits", "similarity"),
)

CurvesOf = Callable[[Row], "list[SampleCurve]"]
"""From a row of the summary to the curves of its samples; empty where none were recorded."""

PLACES = 80
"""Numbers of passes at which a chart asks for the quartiles."""
BEST_SO_FAR = (
    "What a search had found on a sample after so many passes, forward and backward ones counted alike; a sample whose "
    "search has ended keeps what it found. The line is the median over samples, the band reaches from the first to the "
    "third quartile. Where a line still rises at its end, more passes may find more."
)


def read_records(audit: SavedAudit, more: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Return the columns that a report needs.

    Args:
        audit: whose they are.
        more: columns of the target's family.

    Raises:
        DataError: if they cannot be read.
    """
    columns = (*COLUMNS, *more)
    table = audit.load_records(columns)
    records = {name: table[name].to_numpy() for name in columns}
    records["eps"] = records["eps"].astype(float)  # a column of nulls has no type of its own
    return records


def rows_of(records: Mapping[str, np.ndarray], row: Row) -> np.ndarray:
    """Return which records, as a mask, belong to a row of the summary.

    >>> import numpy as np
    >>> columns = {"attack": ["a", "b"], "defense": ["none", "none"], "norm": ["L2", "L2"], "eps": [0.5, 0.5]}
    >>> columns["attacker"] = [None, None]
    >>> row = {"attack": "b", "defense": "none", "attacker": None, "norm": "L2", "eps": 0.5}
    >>> rows_of({name: np.array(column) for name, column in columns.items()}, row).tolist()
    [False, True]
    """
    import numpy as np
    import pyarrow as pa

    texts = {name: pa.array(records[name], pa.string(), from_pandas=True) for name in KEY if name != "eps"}
    table = pa.table({**texts, "eps": pa.array(records["eps"], pa.float64(), from_pandas=True)})
    mask = np.zeros(len(table), dtype=bool)
    key = RowKey.of({**row, "tampering": None})  # of an audit's one target, so the same in all records
    mask[table.append_column("place", [np.arange(len(table))]).filter(key.matches())["place"].to_numpy()] = True
    return mask


DASHES = ("solid", "dot", "dash", "dashdot")
"""Of the lines of one row's several counts."""


def headline_series(summary: Sequence[Row]) -> list[Series]:
    """Return what the charts compare: clean, the six costliest attacks at their costliest budgets, the top control.

    >>> clean = {"attack": "clean", "kind": "clean", "defense": "none", "eps": None}
    >>> [series.name for series in headline_series([clean])]
    ['clean']
    """
    tops = [(series, top) for series in _series(summary, "attack") if (top := costliest(series.rows, "attack"))]
    tops.sort(key=lambda pair: -float(pair[1]["slowdown_mean"]))
    found = [Series((row,), label(row), CLEAN) for row in summary if row["kind"] == "clean"][:1]
    found += [Series((top,), label(top), series.color, series.dash) for series, top in tops[: len(COLORS)]]
    control = costliest(beside(summary, tops[0][1]) if tops else summary, "control")
    return found + ([Series((control,), label(control), CONTROL, "dash")] if control else [])


def slowdown_distribution(series: Sequence[Series], records: Mapping[str, np.ndarray], unit: str) -> Chart:
    """Draw which share of the samples is slowed down at least so much, each over its own clean cost."""
    figure, keys, most = plots.figure(), [], 0.0
    for s in series:
        own = rows_of(records, s.rows[0])
        plots.tail(figure, s, records["slowdown"][own])
        keys.append(s.key())
        most = max(most, *(records["cost_static"][own] / records["cost_clean"][own]))
    if most and not is_missing(most):
        keys.append(plots.reference(figure, most, f"static bound of the cheapest sample {times(most)}", "dot"))
    note = (
        "The height of a line at 2 is the share of samples that cost at least twice their own clean cost. Samples that "
        "are expensive when clean have less room, so not every sample can reach the bound of the cheapest one."
    )
    axes = (f"slowdown (times the sample's own clean cost, {unit})", "samples slowed at least so much (%)")
    return plots.chart("slowdowns", "Slowdown, sample by sample", note, keys, figure, axes)


def cost_distribution(audit: Row, series: Sequence[Series], records: Mapping[str, np.ndarray], unit: str) -> Chart:
    """Draw which share of the samples costs at least so much, in units of the mean clean cost, and the references."""
    figure, keys = plots.figure(), []
    for s in series:
        if mean := s.rows[0].get("cost_clean_mean"):
            plots.tail(figure, s, records["cost"][rows_of(records, s.rows[0])] / mean)
            keys.append(s.key())
    keys += _references(figure, audit)
    note = (
        "All samples on one scale, where the references are exact: no input of this audit can pass the static bound, "
        "and one benign input in a thousand passes the benign 99.9th percentile."
    )
    axes = (f"cost (times the mean clean cost, {unit})", "samples that cost at least so much (%)")
    return plots.chart("costs", "Cost of a sample against the references", note, keys, figure, axes)


def eps_curves(audit: Row, growth: Callable[[Row], Mapping[str, float]]) -> list[Chart]:
    """Draw what depends on eps, for each norm that ran at several eps.

    That is cost, then utility and agreement, and what grows beside cost, which a network that costs the same for every
    input can hide.

    Args:
        audit: its parts.
        growth: of a row, counts by name.
    """
    charts: list[Chart] = []
    for norm in dict.fromkeys(row["norm"] for row in audit["summary"] if row["kind"] == "attack" and row["norm"]):
        series = [*_series(audit["summary"], "attack", norm), *_series(audit["summary"], "control", norm)]
        eps = sorted({float(row["eps"]) for s in series for row in s.rows if row["kind"] == "attack"})
        if len(eps) > 1:
            axis = eps_axis(norm, audit["target"].get("inputs"))
            charts.append(_cost_curve(audit, series, norm, eps, axis))
            charts += _growth_curve(audit["summary"], series, norm, eps, axis, growth)
            charts.append(_utility_curve(series, norm, eps, axis))
    return charts


def _cost_curve(audit: Row, series: Sequence[Series], norm: str, eps: Sequence[float], axis: str) -> Chart:
    figure = plots.figure()
    for s in series:
        plots.line(figure, s, [(row["eps"], over_clean(row)) for row in s.rows], ".2f", "x")
    keys = [*(s.key() for s in series), *_references(figure, audit, across=(eps[0], eps[-1]))]
    plots.eps_ticks(figure, norm, eps)
    note = "Mean over all samples. The tail, the confidence interval and the headroom of each point are in the table."
    axes = (axis, "mean cost (times the clean mean)")
    return plots.chart(f"cost-{norm}", f"Cost against eps, {norm}", note, keys, figure, axes)


def _growth_curve(
    summary: Sequence[Row],
    series: Sequence[Series],
    norm: str,
    eps: Sequence[float],
    axis: str,
    growth: Callable[[Row], Mapping[str, float]],
) -> list[Chart]:
    clean = {row["defense"]: growth(row) for row in summary if row["kind"] == "clean"}
    figure, keys = plots.figure(), []
    for s in series:
        before = {name: count for name, count in clean.get(s.rows[0]["defense"], {}).items() if count}
        for place, name in enumerate(before):
            part = Series(s.rows, f"{s.name}: {name}", s.color, DASHES[place % len(DASHES)])
            found = [(row["eps"], growth(row).get(name)) for row in s.rows]
            points = [(at, None if count is None else count / before[name]) for at, count in found]
            plots.line(figure, part, points, ".2f", "x")
            keys.append(part.key())
    if not keys:
        return []
    plots.eps_ticks(figure, norm, eps)
    note = "Counts as a multiple of the clean inputs' own: a cost that is the same for all inputs can hide such growth."
    axes = (axis, "mean count (times the clean mean)")
    return [plots.chart(f"growth-{norm}", f"Growth of what is found against eps, {norm}", note, keys, figure, axes)]


def _utility_curve(series: Sequence[Series], norm: str, eps: Sequence[float], axis: str) -> Chart:
    figure, keys, lowest = plots.figure(), [], 0.0
    name = next((str(row["utility_name"]) for s in series for row in s.rows if row.get("utility_name")), "utility")
    for s in series:
        for what, key, dash in ((name, "utility", "solid"), ("agreement", "agreement", "dot")):
            part = Series(s.rows, f"{s.name}: {what}", s.color, dash)
            points = [(row["eps"], None if is_missing(row.get(key)) else 100 * row[key]) for row in s.rows]
            plots.line(figure, part, points, ".1f", " %")
            keys.append(part.key())
            lowest = min([lowest, *(value for _, value in points if value is not None)])
    plots.eps_ticks(figure, norm, eps)
    note = f"What the same inputs do to the output: {name}, and the share of predictions that equal the clean one."
    title = f"{titled(name)} and agreement against eps, {norm}"
    return plots.chart(f"utility-{norm}", title, note, keys, figure, (axis, "samples (%)" if lowest >= 0 else "%"))


def _series(summary: Sequence[Row], kind: str, norm: str | None = None) -> list[Series]:
    rows, found = [row for row in summary if row["kind"] == kind], []
    for place, name in enumerate(dict.fromkeys(map(_what, rows))):
        own = [row for row in rows if _what(row) == name and norm in (None, row["norm"])]
        own.sort(key=lambda row: row["eps"] or 0)
        attack = COLORS[place % len(COLORS)], ("solid", "longdash", "dashdot")[place // len(COLORS) % 3]
        style = attack if kind == "attack" else (CONTROL, "dash")
        found += [Series(tuple(own), label(own[0], budget=False), *style)] if own else []
    return found


def _what(row: Row) -> RowKey:
    return replace(RowKey.of(row), budget=None)


def _references(figure: go.Figure, audit: Row, across: tuple[float, float] | None = None) -> list[Key]:
    static = static_factor(audit["summary"])
    named = (("static bound", static, "dot"), ("benign 99.9th percentile", natural_factor(audit), "dashdot"))
    return [
        plots.reference(figure, value, f"{name} {times(value)}", dash, across=across)
        for name, value, dash in named
        if value is not None
    ]


def best_so_far(series: Sequence[Series], curves_of: CurvesOf, unit: str) -> Chart | None:
    """Draw the median slowdown of what searches had found against passes, with quartiles; None without curves."""
    import numpy as np

    figure, keys = plots.figure(), []
    for s in series:
        curves = curves_of(s.rows[0])
        if not curves or max(curve.passes for curve in curves) < 2:
            continue
        most = max(curve.passes for curve in curves)
        places = sorted({round(most ** (step / (PLACES - 1))) for step in range(PLACES)})
        values = np.array([[curve.slowdown(place) for curve in curves] for place in places])
        plots.band(figure, s, places, *np.quantile(values, (0.25, 0.5, 0.75), axis=1).tolist())
        keys.append(s.key())
    if not keys:
        return None
    figure.update_xaxes(type="log")
    axes = ("passes on a sample", f"slowdown of the best so far (times, {unit})")
    return plots.chart("best-so-far", "Best so far against passes", BEST_SO_FAR, keys, figure, axes)
