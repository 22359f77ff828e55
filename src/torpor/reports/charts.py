"""Charts of the HTML report: plotly figures as offline fragments, each with its key as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor.reports.pictures import rows_of
from torpor.reports.words import Row, costliest, eps_text, is_missing, label, natural_factor, over_clean, times

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

COLORS = ("#0072b2", "#d55e00", "#009e73", "#c05f96", "#8a6d00", "#3a9bd0")
"""After Okabe and Ito's palette, told apart by most color-blind readers; darkened for white paper."""
CLEAN, CONTROL, REFERENCE = "#4b5563", "#8b8f98", "#111827"
DASHES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "11 3"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


@dataclass(frozen=True)
class Key:
    """One entry of a chart's key: a name, its color, and an SVG dash array or None for a filled swatch."""

    name: str
    color: str
    dash: str | None


@dataclass(frozen=True)
class Chart:
    """A figure of the report.

    Attributes:
        note: how to read it.
        keys: its key, drawn in HTML so that it wraps on narrow screens.
        fragment: trusted HTML that draws it once plotly.js is loaded.
    """

    name: str
    title: str
    note: str
    keys: tuple[Key, ...]
    fragment: str


@dataclass(frozen=True)
class Series:
    """Rows of one attack or control, with the color and line style that they have in every chart."""

    rows: tuple[Row, ...]
    name: str
    color: str
    dash: str = "solid"

    def key(self, *, filled: bool = False) -> Key:
        """Return the entry of a key."""
        return Key(self.name, self.color, None if filled else DASHES[self.dash])


def plotly_script() -> str:
    """Return plotly.js, to be put inline once."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


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
    control = costliest(summary, "control")
    return found + ([Series((control,), label(control), CONTROL, "dash")] if control else [])


def exit_histogram(audit: Row, series: Sequence[Series]) -> Chart | None:
    """Draw where samples leave, clean and attacked; None if no row has an exit histogram."""
    drawn = [s for s in series if s.rows[0].get("exit_histogram")]
    if not drawn:
        return None
    exits = len(drawn[0].rows[0]["exit_histogram"])
    costs = list(audit["target"].get("exit_costs") or [])
    shares = [f"<br>{100 * cost:.0f} %" for cost in costs] if len(costs) == exits else [""] * exits
    figure = _figure()
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
    return _chart("exits", "Where samples leave the network", note, [s.key(filled=True) for s in drawn], figure, axes)


def slowdown_distribution(series: Sequence[Series], records: dict[str, np.ndarray]) -> Chart:
    """Draw which share of the samples is slowed down at least so much, each over its own clean cost."""
    figure, keys = _figure(), []
    for s in series:
        _tail(figure, s, records["slowdown"][rows_of(records, s.rows[0])])
        keys.append(s.key())
    possible = records["flops_static"] / records["flops_clean"]
    if len(possible):
        keys.append(_reference(figure, float(possible.max()), "static bound of the cheapest sample", "dot"))
    note = (
        "The height of a line at 2 is the share of samples that cost at least twice their own clean cost. Samples that "
        "are dear when clean have less room, so not every sample can reach the bound of the cheapest one."
    )
    axes = ("slowdown (times the sample's own clean FLOPs)", "samples slowed at least so much (%)")
    return _chart("slowdowns", "Slowdown, sample by sample", note, keys, figure, axes)


def cost_distribution(audit: Row, series: Sequence[Series], records: dict[str, np.ndarray]) -> Chart:
    """Draw which share of the samples costs at least so much, in units of the mean clean cost, and the references."""
    figure, keys = _figure(), []
    for s in series:
        if mean := s.rows[0].get("flops_clean_mean"):
            _tail(figure, s, records["flops"][rows_of(records, s.rows[0])] / mean)
            keys.append(s.key())
    keys += _references(figure, audit)
    note = (
        "All samples on one scale, where the references are exact: no input can pass the static bound, and one benign "
        "input in a thousand passes the benign 99.9th percentile."
    )
    axes = ("cost (times the mean clean FLOPs)", "samples that cost at least so much (%)")
    return _chart("costs", "Cost of a sample against the references", note, keys, figure, axes)


def eps_curves(audit: Row) -> list[Chart]:
    """Draw cost, then utility and agreement, against eps: a pair of charts for each norm that ran at several eps."""
    charts: list[Chart] = []
    for norm in dict.fromkeys(row["norm"] for row in audit["summary"] if row["kind"] == "attack" and row["norm"]):
        series = [*_series(audit["summary"], "attack", norm), *_series(audit["summary"], "control", norm)]
        eps = sorted({float(row["eps"]) for s in series for row in s.rows if row["kind"] == "attack"})
        if len(eps) > 1:
            charts += [_cost_curve(audit, series, norm, eps), _utility_curve(series, norm, eps)]
    return charts


def _cost_curve(audit: Row, series: Sequence[Series], norm: str, eps: Sequence[float]) -> Chart:
    figure = _figure()
    for s in series:
        _line(figure, s, [(row["eps"], over_clean(row)) for row in s.rows], ".2f", "x")
    keys = [*(s.key() for s in series), *_references(figure, audit, across=(eps[0], eps[-1]))]
    _eps_ticks(figure, norm, eps)
    note = "Mean over all samples. The tail, the confidence interval and the headroom of each point are in the table."
    axes = (f"eps ({norm}, pixels in [0, 1])", "mean cost (times the clean mean)")
    return _chart(f"cost-{norm}", f"Cost against eps, {norm}", note, keys, figure, axes)


def _utility_curve(series: Sequence[Series], norm: str, eps: Sequence[float]) -> Chart:
    figure, keys = _figure(), []
    name = next((str(row["utility_name"]) for s in series for row in s.rows if row.get("utility_name")), "utility")
    for s in series:
        for what, key, dash in ((name, "utility", "solid"), ("agreement", "agreement", "dot")):
            part = Series(s.rows, f"{s.name}: {what}", s.color, dash)
            points = [(row["eps"], None if is_missing(row.get(key)) else 100 * row[key]) for row in s.rows]
            _line(figure, part, points, ".1f", " %")
            keys.append(part.key())
    _eps_ticks(figure, norm, eps)
    note = f"What the same inputs do to the output: {name}, and the share of predictions that equal the clean one."
    axes = (f"eps ({norm}, pixels in [0, 1])", "samples (%)")
    return _chart(f"utility-{norm}", f"{name.capitalize()} and agreement against eps, {norm}", note, keys, figure, axes)


def _series(summary: Sequence[Row], kind: str, norm: str | None = None) -> list[Series]:
    rows, found = [row for row in summary if row["kind"] == kind], []
    for place, name in enumerate(dict.fromkeys((row["attack"], row["defense"]) for row in rows)):
        own = [row for row in rows if (row["attack"], row["defense"]) == name and norm in (None, row["norm"])]
        own.sort(key=lambda row: row["eps"] or 0)
        attack = COLORS[place % len(COLORS)], ("solid", "longdash", "dashdot")[place // len(COLORS) % 3]
        style = attack if kind == "attack" else (CONTROL, "dash")
        found += [Series(tuple(own), label(own[0], budget=False), *style)] if own else []
    return found


def _references(figure: go.Figure, audit: Row, across: tuple[float, float] | None = None) -> list[Key]:
    static = max((value for row in audit["summary"] if (value := over_clean(row, "flops_static"))), default=None)
    named = (("static bound", static, "dot"), ("benign 99.9th percentile", natural_factor(audit), "dashdot"))
    return [_reference(figure, value, name, dash, across) for name, value, dash in named if value is not None]


def _reference(figure: go.Figure, value: float, name: str, dash: str, across: tuple[float, float] | None = None) -> Key:
    x, y = (across, [value, value]) if across else ([value, value], [0, 100])
    line, name = {"color": REFERENCE, "dash": dash, "width": 1.5}, f"{name} {times(value)}"
    figure.add_scatter(x=x, y=y, mode="lines", cliponaxis=False, line=line, hovertemplate=f"{name}<extra></extra>")
    return Key(name, REFERENCE, DASHES[dash])


def _figure() -> go.Figure:
    import plotly.graph_objects as go

    return go.Figure(layout={"template": "none"})


def _tail(figure: go.Figure, s: Series, values: np.ndarray) -> None:
    import numpy as np

    steps = np.unique(values)
    steps = steps if len(steps) <= 400 else np.quantile(values, np.linspace(0, 1, 400), method="higher")
    shares = [100 * float(np.mean(values >= step)) for step in steps]
    if len(steps):
        said = f"{html.escape(s.name)}<br>%{{y:.1f}} % at %{{x:.2f}}x or more<extra></extra>"
        line = {"color": s.color, "dash": s.dash, "shape": "vh", "width": 2.5}
        x, y = [float(steps[0]), *map(float, steps), float(steps[-1])], [100.0, *shares, 0.0]
        figure.add_scatter(x=x, y=y, mode="lines", cliponaxis=False, line=line, hovertemplate=said)


def _line(figure: go.Figure, s: Series, points: Sequence[tuple[float, float | None]], form: str, unit: str) -> None:
    said = f"{html.escape(s.name)}<br>%{{y:{form}}}{unit} at eps %{{x}}<extra></extra>"
    known = [point for point in points if point[1] is not None]
    line = {"color": s.color, "dash": s.dash, "width": 2.5}
    x, y = zip(*known, strict=True) if known else ((), ())
    figure.add_scatter(x=x, y=y, mode="lines+markers", line=line, marker={"size": 8}, hovertemplate=said)


def _eps_ticks(figure: go.Figure, norm: str, eps: Sequence[float]) -> None:
    scale = "log" if eps[-1] >= 4 * eps[0] else "linear"
    figure.update_xaxes(type=scale, tickvals=list(eps), ticktext=[eps_text(norm, value) for value in eps])


def _chart(name: str, title: str, note: str, keys: Sequence[Key], figure: go.Figure, axes: tuple[str, str]) -> Chart:
    share = {"range": [0, 103]} if "%" in axes[1] else {"rangemode": "tozero"}
    line = {"linecolor": "#9ca3af", "gridcolor": "#e5e7eb", "zeroline": False, "automargin": True, "fixedrange": True}
    figure.update_layout(
        font={"family": FONT, "size": 13, "color": "#1f2937"},
        margin={"l": 56, "r": 16, "t": 8, "b": 48},
        height=340,
        showlegend=False,
        dragmode=False,
        xaxis={"title": {"text": html.escape(axes[0]), "font": {"size": 12}, "standoff": 10}, **line},
        yaxis={"title": {"text": html.escape(axes[1]), "font": {"size": 12}}, **share, **line},
    )
    name, config = "".join(c for c in name if c.isalnum() or c == "-"), {"displayModeBar": False, "responsive": True}
    fragment = figure.to_html(config=config, include_plotlyjs=False, full_html=False, div_id=f"plot-{name}")
    return Chart(name, title, note, tuple(keys), fragment)
