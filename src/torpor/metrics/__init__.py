"""Metrics: pure functions of costs, exits and distances, and the summary of a row of records."""

from torpor.metrics.distances import Distances, distances
from torpor.metrics.efficacy import eec_floor, efficacy_eec, efficacy_step, exit_histogram, exit_summary
from torpor.metrics.headroom import headroom, mean_headroom
from torpor.metrics.natural import benign_percentile
from torpor.metrics.slowdown import slowdown
from torpor.metrics.summary import cost_summary
from torpor.metrics.tails import Tails, bootstrap_ci95, interval95, tails

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
