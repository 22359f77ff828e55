"""The best so far against passes: of each attack over all samples, and of one sample beside its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torpor.reports.kit import plots
from torpor.reports.kit.plots import Chart, Series
from torpor.reports.kit.words import Row, times

if TYPE_CHECKING:
    from torpor.audits.curves import SampleCurve

CurvesOf = Callable[[Row], "list[SampleCurve]"]
"""From a row of the summary to the curves of its samples; empty where none were recorded."""

WIDTH, HEIGHT, EDGE = 240, 56, 4
"""Of the curve of one sample, and the space around it."""
PLACES = 80
"""Numbers of passes at which a chart asks for the quartiles."""
NOTE = (
    "What a search had found on a sample after so many passes, forward and backward ones counted alike; a sample whose "
    "search has ended keeps what it found. The line is the median over samples, the band reaches from the first to the "
    "third quartile. Where a line still rises at its end, more passes may find more."
)


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
    return plots.chart("best-so-far", "Best so far against passes", NOTE, keys, figure, axes)


def sketched(curve: SampleCurve) -> str:
    """Return the curve of one sample as SVG, passes on a logarithmic scale; trusted, since it is made of numbers.

    >>> from torpor.attacks.search.curve import Improvement
    >>> from torpor.audits.curves import SampleCurve
    >>> sketched(SampleCurve(0, 1.0, 1.0, 100, 0, (Improvement(10, 2.0),))).count("<path")
    1
    """
    from math import log

    last, top = max(2, curve.passes), max(curve.slowdown(curve.passes), 1.0)
    low = min(curve.own / curve.clean, 1.0)

    def x(passes: int) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * min(1.0, log(max(1, passes)) / log(last))

    def y(slowdown: float) -> float:
        share = (slowdown - low) / (top - low) if top > low else 0.0
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * share

    path = f"M{x(1):.1f} {y(curve.own / curve.clean):.1f}"
    for point in curve.points:
        path += f"H{x(point.passes):.1f}V{y(point.cost / curve.clean):.1f}"
    said = f"best so far, from {times(curve.own / curve.clean)} to {times(top)}, against passes, 1 to {last:,}"
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}"><title>{said}</title>'
        f'<path d="{path}H{x(last):.1f}"/></svg>'
    )


def effort(curve: SampleCurve, seconds: str = "") -> str:
    """Say what the search on one sample spent, and when it found what.

    Args:
        curve: of the sample.
        seconds: what it took, in words; empty if that is not recorded.

    >>> from torpor.attacks.search.curve import Improvement
    >>> from torpor.audits.curves import SampleCurve
    >>> effort(SampleCurve(0, 1.0, 1.0, 60, 40, (Improvement(3, 2.0), Improvement(50, 5.0, "square"))))
    '100 passes (60 forward, 40 backward), 2.00x after 3, 5.00x after 50 by square'
    """
    spent = f"{curve.passes:,} passes ({curve.forwards:,} forward, {curve.backwards:,} backward)"
    spent += f" in {seconds}" if seconds else ""
    if not curve.points:
        return f"{spent}, nothing found"
    ends = dict.fromkeys((curve.points[0], curve.points[-1]))
    found = [
        f"{times(point.cost / curve.clean)} after {point.passes:,}{' by ' * bool(point.member)}{point.member}"
        for point in ends
    ]
    return f"{spent}, {', '.join(found)}"
