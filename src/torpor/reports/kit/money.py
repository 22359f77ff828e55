"""The chart of searches whose candidates were billed: how the best so far grew against what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torpor.reports.kit import plots
from torpor.reports.kit.plots import PLACES, Chart, Series

if TYPE_CHECKING:
    from torpor.audits.curves import SampleCurve

BEST_FOR = (
    "What a search had found on a sample once its candidates had cost so much, each request once, retries left out: "
    f"what an attacker pays, or the server's owner. {plots.BAND}more may be found for more."
)


def best_for_money(searched: Sequence[tuple[Series, list[SampleCurve]]], unit: str) -> Chart | None:
    """Draw the median slowdown of what searches had found against what they had spent; None where nothing was billed.

    Args:
        searched: what is drawn, and the curves of its samples.
        unit: of costs.
    """
    figure, keys = plots.figure(), []
    for s, every in searched:
        curves = [curve for curve in every if curve.billed]
        most = max((curve.spent or 0.0 for curve in curves), default=0.0)
        if not most:
            continue
        first = min((point.spent or most for curve in curves for point in curve.points[:1]), default=most) / 2
        places = [first * (most / first) ** (step / (PLACES - 1)) for step in range(PLACES - 1)] + [most]
        values = [[curve.best_for(place) / curve.clean for curve in curves] for place in places]
        plots.band(figure, s, places, values, f"%{{x:,.3g}} {unit}")
        keys.append(s.key())
    if not keys:
        return None
    figure.update_xaxes(type="log", exponentformat="none")  # no µ before dollars
    axes = (f"cost of a sample's candidates ({unit})", f"slowdown of the best so far (times, {unit})")
    return plots.chart("best-for-cost", "Best so far against what the search cost", BEST_FOR, keys, figure, axes)
