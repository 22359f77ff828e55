"""Metrics: pure functions of costs, exits and distances, and the summary of a row of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy
from torpor.metrics.distances import Distances, distances
from torpor.metrics.headroom import headroom, mean_headroom
from torpor.metrics.slowdown import slowdown
from torpor.metrics.tails import Tails, benign_percentile, bootstrap_ci95, cost_summary, interval95, tails

# a function that is called as its module loads at once: the module would hide it later
if TYPE_CHECKING:
    from torpor.metrics.efficacy import eec_floor, efficacy_eec, efficacy_step, exit_histogram, exit_summary
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {"efficacy": ["eec_floor", "efficacy_eec", "efficacy_step", "exit_histogram", "exit_summary"]},
    )

__all__ = [
    "cost_summary",
    "Distances",
    "Tails",
    "benign_percentile",
    "bootstrap_ci95",
    "distances",
    "eec_floor",
    "efficacy_eec",
    "efficacy_step",
    "exit_histogram",
    "exit_summary",
    "headroom",
    "interval95",
    "mean_headroom",
    "slowdown",
    "tails",
]
