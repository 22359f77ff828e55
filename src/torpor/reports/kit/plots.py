"""What the charts are drawn with: series, keys, and plotly figures as offline fragments."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torpor.core.budget import eps_text
from torpor.core.errors import UsageError
from torpor.reports.kit.words import Row

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

COLORS = ("#0072b2", "#d55e00", "#009e73", "#c05f96", "#8a6d00", "#3a9bd0")
"""After Okabe and Ito's palette, told apart by most color-blind readers; darkened for white paper."""
CLEAN, CONTROL, REFERENCE = "#4b5563", "#8b8f98", "#111827"
DASHES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "11 3"}
FEW = 12
"""Bars that words name one by one; of more, and of lines, they name the ends and the highest."""
DRAWN = ("bar", "pie", "scatter")
"""Kinds of traces that the basic bundle of plotly.js draws; of any other it would draw nothing."""
PLACES = 80
"""Places of the horizontal axis at which a band is drawn."""
BAND = (
    "A sample whose search has ended keeps what it found. The line is the median over samples, the band reaches from "
    "the first to the third quartile. Where a line still rises at its end, "
)
"""How to read the band around the best so far."""
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
        alternative: what it shows, in words.
    """

    name: str
    title: str
    note: str
    keys: tuple[Key, ...]
    fragment: str
    alternative: str = ""


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
    """Return the basic bundle of plotly.js, to be put inline once; a quarter of the whole one."""
    return (Path(__file__).parents[1] / "plotly_js" / "plotly-basic.min.js").read_text(encoding="utf-8")


def figure() -> go.Figure:
    """Return an empty figure."""
    import plotly.graph_objects as go

    return go.Figure(layout={"template": "none"})


def reference(
    figure: go.Figure,
    value: float,
    name: str,
    dash: str,
    *,
    across: tuple[float, float] | None = None,
    top: float = 100,
) -> Key:
    """Draw a line at a value that everything is compared with: upright up to ``top``, or level ``across`` a range."""
    x, y = (across, [value, value]) if across else ([value, value], [0, top])
    line = {"color": REFERENCE, "dash": dash, "width": 1.5}
    figure.add_scatter(x=x, y=y, mode="lines", cliponaxis=False, line=line, hovertemplate=f"{name}<extra></extra>")
    return Key(name, REFERENCE, DASHES[dash])


def tail(figure: go.Figure, s: Series, values: np.ndarray) -> None:
    """Draw which share of the values is at least so large."""
    import numpy as np

    steps = np.unique(values)
    steps = steps if len(steps) <= 400 else np.quantile(values, np.linspace(0, 1, 400), method="higher")
    shares = [100 * float(np.mean(values >= step)) for step in steps]
    if len(steps):
        said = f"{html.escape(s.name)}<br>%{{y:.1f}} % at %{{x:.2f}}x or more<extra></extra>"
        line = {"color": s.color, "dash": s.dash, "shape": "vh", "width": 2.5}
        x, y = [float(steps[0]), *map(float, steps), float(steps[-1])], [100.0, *shares, 0.0]
        figure.add_scatter(x=x, y=y, mode="lines", cliponaxis=False, line=line, hovertemplate=said)


def line(figure: go.Figure, s: Series, points: Sequence[tuple[float, float | None]], form: str, unit: str) -> None:
    """Draw points that a line joins; those without a value are left out."""
    said = f"{html.escape(s.name)}<br>%{{y:{form}}}{unit} at eps %{{x}}<extra></extra>"
    known = [point for point in points if point[1] is not None]
    line = {"color": s.color, "dash": s.dash, "width": 2.5}
    x, y = zip(*known, strict=True) if known else ((), ())
    figure.add_scatter(x=x, y=y, mode="lines+markers", line=line, marker={"size": 8}, hovertemplate=said)


def band(figure: go.Figure, s: Series, x: Sequence[float], values: Sequence[Sequence[float]], after: str) -> None:
    """Draw the median of some values in steps, and a band between their quartiles.

    Args:
        figure: to draw on.
        s: whose color it has.
        x: where the values are.
        values: at each of these places.
        after: what ``x`` is, as plotly writes it.
    """
    import numpy as np

    low, mid, high = np.quantile(np.array(values), (0.25, 0.5, 0.75), axis=1).tolist()
    red, green, blue = (int(s.color[place : place + 2], 16) for place in (1, 3, 5))
    for edge, fill in ((low, None), (high, "tonexty")):
        edges = {"color": s.color, "width": 0, "shape": "hv"}
        color = f"rgba({red},{green},{blue},0.15)"
        figure.add_scatter(x=x, y=edge, mode="lines", line=edges, fill=fill, fillcolor=color, hoverinfo="skip")
    said = f"{html.escape(s.name)}<br>%{{y:.2f}}x after {after}<extra></extra>"
    line = {"color": s.color, "dash": s.dash, "shape": "hv", "width": 2.5}
    figure.add_scatter(x=x, y=mid, mode="lines", cliponaxis=False, line=line, hovertemplate=said)


def pair(
    figure: go.Figure, name: str, color: str, points: Sequence[tuple[float, object]], remark: str, dash: str
) -> None:
    """Draw two points that a line joins, the first hollow; those without a value are left out."""
    said = f"{html.escape(name)}<br>%{{y:.2f}}x at %{{x:.1f}} %<br>{html.escape(remark)}<extra></extra>"
    known = [(x, y, symbol) for (x, y), symbol in zip(points, ("circle-open", "circle"), strict=True) if y is not None]
    x, y, symbols = zip(*known, strict=True) if known else ((), (), ())
    marker = {"size": 12, "color": color, "symbol": symbols, "line": {"width": 2.5, "color": color}}
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": color, "dash": dash, "width": 1.5},
        marker=marker,
        hovertemplate=said,
    )


def eps_ticks(figure: go.Figure, norm: str, eps: Sequence[float]) -> None:
    """Put a tick at each budget."""
    scale = "log" if eps[-1] >= 4 * eps[0] else "linear"
    figure.update_xaxes(type=scale, tickvals=list(eps), ticktext=[eps_text(norm, value) for value in eps])


def chart(name: str, title: str, note: str, keys: Sequence[Key], figure: go.Figure, axes: tuple[str, str]) -> Chart:
    """Lay out a figure and return it as a chart; an axis whose title ends in ``(%)`` goes from 0 to 100.

    Raises:
        UsageError: if the figure has traces that reports cannot draw.
    """
    if unknown := sorted({trace.type for trace in figure.data} - set(DRAWN)):
        raise UsageError(
            f"expected traces of type {', '.join(DRAWN)} in the chart {name!r}, which is what plotly.js draws in a "
            f"report, got {', '.join(unknown)}; draw it with these"
        )
    share = {"range": [0, 103]} if axes[1].endswith("(%)") else {"rangemode": "tozero"}
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
    return Chart(name, title, note, tuple(keys), fragment, in_words(figure, axes))


def in_words(figure: go.Figure, axes: tuple[str, str]) -> str:
    """Return what a figure shows to those who do not see it: each series by name, with its ends and its highest point.

    >>> made = figure()
    >>> _ = made.add_scatter(x=[1, 2, 4], y=[100.0, 40.0, 0.0], hovertemplate="pgd<br>%{y}<extra></extra>")
    >>> in_words(made, ("slowdown", "samples (%)"))
    'samples (%) against slowdown. pgd: 100 at 1, 0 at 4, highest 100 at 1.'
    """
    said = [f"{axes[1]} against {axes[0]}." if axes[0] else f"{axes[1]}."]
    for trace in figure.data:
        name = html.unescape(str(trace.hovertemplate or "").partition("<")[0])
        points = [(x, y) for x, y in zip(trace.x or (), trace.y or (), strict=False) if y is not None]
        if name and "%{" not in name and points:
            few = len(points) <= FEW and trace.type == "bar"
            chosen = points if few else [points[0], points[-1]]
            parts = [f"{float(y):.3g} at {_place(x)}" for x, y in chosen]
            top = max(points, key=lambda point: float(point[1]))
            parts += [] if few else [f"highest {float(top[1]):.3g} at {_place(top[0])}"]
            said.append(f"{name}: {', '.join(parts)}.")
    return " ".join(said)


def _place(x: object) -> str:
    """Return where a point is, in words."""
    return f"{x:.3g}" if isinstance(x, int | float) else html.unescape(str(x)).replace("<br>", ", ")
