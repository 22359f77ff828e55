"""Charts of searches: how the best so far grew, against passes and against what candidates cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torpor.reports.kit import plots
from torpor.reports.kit.plots import Chart, Series
from torpor.reports.kit.words import Row

if TYPE_CHECKING:
    from torpor.audits.curves import SampleCurve

CurvesOf = Callable[[Row], "list[SampleCurve]"]
"""From a row of the summary to the curves of its samples; empty where none were recorded."""

PLACES = 80
"""Points of the horizontal axis at which a chart asks for the quartiles."""
READING = (
    "A sample whose search has ended keeps what it found. The line is the median over samples, the band reaches from "
    "the first to the third quartile. Where a line still rises at its end, "
)
BEST_SO_FAR = (
    "What a search had found on a sample after so many passes, forward and backward ones counted alike. "
    f"{READING}more passes may find more."
)
BEST_FOR = (
    "What a search had found on a sample once its candidates had cost so much, each request once, retries left out: "
    f"what an attacker pays, or the server's owner. {READING}more may be found for more."
)


def best_so_far(series: Sequence[Series], curves_of: CurvesOf, unit: str) -> Chart | None:
    """Draw the median slowdown of what searches had found against passes, with quartiles; None without curves."""
    figure, keys = plots.figure(), []
    for s in series:
        curves = curves_of(s.rows[0])
        if not curves or max(curve.passes for curve in curves) < 2:
            continue
        most = max(curve.passes for curve in curves)
        places = sorted({round(most ** (step / (PLACES - 1))) for step in range(PLACES)})
        values = [[curve.slowdown(place) for curve in curves] for place in places]
        plots.band(figure, s, places, _quartiles(values), "%{x:,} passes")
        keys.append(s.key())
    if not keys:
        return None
    figure.update_xaxes(type="log")
    axes = ("passes on a sample", f"slowdown of the best so far (times, {unit})")
    return plots.chart("best-so-far", "Best so far against passes", BEST_SO_FAR, keys, figure, axes)


def best_for_money(series: Sequence[Series], curves_of: CurvesOf, unit: str) -> Chart | None:
    """Draw the same against what candidates had cost; None where none were billed."""
    figure, keys = plots.figure(), []
    for s in series:
        curves = [curve for curve in curves_of(s.rows[0]) if curve.billed]
        most = max((curve.spent or 0.0 for curve in curves), default=0.0)
        if not most:
            continue
        first = min((point.spent or most for curve in curves for point in curve.points[:1]), default=most) / 2
        places = [first * (most / first) ** (step / (PLACES - 1)) for step in range(PLACES - 1)] + [most]
        values = [[curve.best_for(place) / curve.clean for curve in curves] for place in places]
        plots.band(figure, s, places, _quartiles(values), f"%{{x:,.3g}} {unit}")
        keys.append(s.key())
    if not keys:
        return None
    figure.update_xaxes(type="log", exponentformat="none")  # no µ before dollars
    axes = (f"cost of a sample's candidates ({unit})", f"slowdown of the best so far (times, {unit})")
    return plots.chart("best-for-cost", "Best so far against what the search cost", BEST_FOR, keys, figure, axes)


def _quartiles(values: list[list[float]]) -> Sequence[Sequence[float]]:
    """Return the three quartiles of each list."""
    import numpy as np

    found: list[list[float]] = np.quantile(np.array(values), (0.25, 0.5, 0.75), axis=1).tolist()
    return found
