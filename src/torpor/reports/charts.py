"""Charts of the HTML report."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torpor.audits.conditions import RowKey
from torpor.core.budget_text import eps_axis
from torpor.reports import plots
from torpor.reports.plots import CLEAN, COLORS, CONTROL, Chart, Key, Series
from torpor.reports.records import rows_of
from torpor.reports.words import (
    Row,
    beside,
    costliest,
    finds,
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

BINS = 32
"""Bars of a histogram of steps at most."""
GROWING = {"candidate": "solid", "track_alive": "dot"}
"""Units that an attack on what is found multiplies, and the style of their lines."""


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


def exit_histogram(audit: Row, series: Sequence[Series]) -> Chart | None:
    """Draw where samples leave, clean and attacked; None if no row has an exit histogram."""
    drawn = [s for s in series if s.rows[0].get("exit_histogram")]
    if not drawn:
        return None
    exits = len(drawn[0].rows[0]["exit_histogram"])
    costs = list(audit["target"].get("exit_costs") or [])
    shares = [f"<br>{100 * cost:.0f} %" for cost in costs] if len(costs) == exits else [""] * exits
    figure = plots.figure()
    for s in drawn:
        counts = s.rows[0]["exit_histogram"]
        figure.add_bar(
            x=[f"exit {place}{share}" for place, share in enumerate(shares)],
            y=[100 * count / max(1, sum(counts)) for count in counts],
            customdata=counts,
            marker={"color": s.color, "pattern": {"shape": "" if s.dash == "solid" else "/"}},
            hovertemplate=f"{html.escape(s.name)}<br>%{{y:.1f}} % (%{{customdata}} samples)<extra></extra>",
        )
    axis = "exit taken" + ("; cost up to it, % of the static bound" if len(costs) == exits else "")
    note = "Each color adds up to 100 %. An efficiency attack moves samples to the right, to later and dearer exits."
    axes = (axis, "samples (%)")
    return plots.chart(
        "exits", "Where samples leave the network", note, [s.key(filled=True) for s in drawn], figure, axes
    )


def step_distribution(audit: Row, series: Sequence[Series], records: dict[str, np.ndarray]) -> Chart | None:
    """Draw how many decoder steps samples run, clean and attacked, with the cap; None if no target iterates here."""
    import numpy as np

    cap = audit["target"].get("cap")
    if not cap or "steps" not in records:
        return None
    width = -(-cap // BINS)
    edges = 0.5 + width * np.arange(-(-cap // width) + 1)
    spans = [
        f"{edge + 0.5:.0f} to {edge + width - 0.5:.0f}" if width > 1 else f"{edge + 0.5:.0f}" for edge in edges[:-1]
    ]
    figure, top, keys = plots.figure(), 0.0, []
    for s in series:
        counts, _ = np.histogram(records["steps"][rows_of(records, s.rows[0])], edges)
        shares = [100 * float(count) / max(1, counts.sum()) for count in counts]
        top = max(top, *shares)
        figure.add_scatter(
            x=[edges[0], *edges.tolist()],
            y=[0, *shares, 0],
            customdata=[spans[0], *spans, spans[-1]],
            mode="lines",
            line={"color": s.color, "dash": s.dash, "shape": "hv", "width": 2.5},
            **({"fill": "tozeroy"} if s.rows[0]["kind"] == "clean" else {}),
            hovertemplate=f"{html.escape(s.name)}<br>%{{y:.1f}} % run %{{customdata}} steps<extra></extra>",
        )
        keys.append(s.key())
    keys.append(plots.reference(figure, cap, f"cap {cap}", "dot", top=1.06 * top))
    figure.update_xaxes(range=[0, edges[-1] + 0.01 * cap])
    note = (
        "The end token counts as a step. Each line adds up to 100 %. An output at the cap was ended by it, or by an "
        "end token just there."
    )
    per = "step" if width == 1 else f"{width} steps"
    return plots.chart("steps", "Decoder steps", note, keys, figure, ("decoder steps", f"% of the samples per {per}"))


def slowdown_distribution(series: Sequence[Series], records: dict[str, np.ndarray]) -> Chart:
    """Draw which share of the samples is slowed down at least so much, each over its own clean cost."""
    figure, keys = plots.figure(), []
    for s in series:
        plots.tail(figure, s, records["slowdown"][rows_of(records, s.rows[0])])
        keys.append(s.key())
    possible = records["flops_static"] / records["flops_clean"]
    if len(possible):
        most = float(possible.max())
        keys.append(plots.reference(figure, most, f"static bound of the cheapest sample {times(most)}", "dot"))
    note = (
        "The height of a line at 2 is the share of samples that cost at least twice their own clean cost. Samples that "
        "are dear when clean have less room, so not every sample can reach the bound of the cheapest one."
    )
    axes = ("slowdown (times the sample's own clean FLOPs)", "samples slowed at least so much (%)")
    return plots.chart("slowdowns", "Slowdown, sample by sample", note, keys, figure, axes)


def cost_distribution(audit: Row, series: Sequence[Series], records: dict[str, np.ndarray]) -> Chart:
    """Draw which share of the samples costs at least so much, in units of the mean clean cost, and the references."""
    figure, keys = plots.figure(), []
    for s in series:
        if mean := s.rows[0].get("flops_clean_mean"):
            plots.tail(figure, s, records["flops"][rows_of(records, s.rows[0])] / mean)
            keys.append(s.key())
    keys += _references(figure, audit)
    note = (
        "All samples on one scale, where the references are exact: no input of this audit can pass the static bound, "
        "and one benign input in a thousand passes the benign 99.9th percentile."
    )
    axes = ("cost (times the mean clean FLOPs)", "samples that cost at least so much (%)")
    return plots.chart("costs", "Cost of a sample against the references", note, keys, figure, axes)


def eps_curves(audit: Row) -> list[Chart]:
    """Draw what depends on eps, for each norm that ran at several eps.

    That is cost, then utility and agreement; and for targets that find objects how their counts grow, since a network
    that costs the same for every picture hides ten times the candidates in FLOPs.
    """
    charts: list[Chart] = []
    for norm in dict.fromkeys(row["norm"] for row in audit["summary"] if row["kind"] == "attack" and row["norm"]):
        series = [*_series(audit["summary"], "attack", norm), *_series(audit["summary"], "control", norm)]
        eps = sorted({float(row["eps"]) for s in series for row in s.rows if row["kind"] == "attack"})
        if len(eps) > 1:
            axis = eps_axis(norm, audit["target"].get("inputs"))
            charts.append(_cost_curve(audit, series, norm, eps, axis))
            charts += [_growth_curve(audit["summary"], series, norm, eps, axis)] if finds(audit["summary"]) else []
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
    summary: Sequence[Row], series: Sequence[Series], norm: str, eps: Sequence[float], axis: str
) -> Chart:
    clean = {row["defense"]: _counts(row) for row in summary if row["kind"] == "clean"}
    figure, keys = plots.figure(), []
    for s in series:
        before = clean.get(s.rows[0]["defense"], {})
        for unit, dash in ((unit, dash) for unit, dash in GROWING.items() if before.get(unit)):
            part = Series(s.rows, f"{s.name}: {unit}", s.color, dash)
            found = [(row["eps"], _counts(row).get(unit)) for row in s.rows]
            points = [(at, None if count is None else count / before[unit]) for at, count in found]
            plots.line(figure, part, points, ".2f", "x")
            keys.append(part.key())
    plots.eps_ticks(figure, norm, eps)
    note = "Counts as a multiple of the clean inputs' own: the network's FLOPs, the same for all, can hide such growth."
    axes = (axis, "mean count (times the clean mean)")
    return plots.chart(f"growth-{norm}", f"Growth of what is found against eps, {norm}", note, keys, figure, axes)


def _counts(row: Row) -> dict[str, float]:
    return dict(row.get("units_mean") or {})


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
