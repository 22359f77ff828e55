"""Early-exit efficacy: how much of the network the exits spare, by two formulas that must not be mixed up.

Let K exits lie at cumulative cost shares c_1 <= ... <= c_K = 1, with c_0 = 0, and let y_k be the share of samples that
left at or before exit k, with y_0 = 0 and y_K = 1. The *step* form is 1 - mean cost. The *trapezoid* form is the area
under the polygon through (c_k, y_k), after Hong et al., ICLR 2021 (arXiv:2010.02432). It also credits each sample with
half the cost between its exit and the one before, so a set that never leaves early scores :func:`eec_floor`, not 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.core.measures import Measure
from torpor.metrics.vectors import vector

CLASS = Measure(
    "reference", "sample", "identity", "class", "True class.", null="the data have no references", dtype=int
)
"""What audits record of targets that classify."""
_FREE = "no exit costs anything"
EXITS: tuple[Measure, ...] = (
    Measure("exit", "sample", "count", "exit", "Index of the last unit that ran.", better="low", dtype=int),
    Measure(
        "efficacy_eec",
        "row",
        "ratio",
        "efficacy (trapezoid)",
        "Early-exit efficacy by trapezoid, as Hong et al. (2021).",
        better="high",
        null=_FREE,
    ),
    Measure(
        "efficacy_step",
        "row",
        "ratio",
        "efficacy",
        "Early-exit efficacy, step form: 1 - mean cost over the whole network's.",
        better="high",
        null=_FREE,
        on_console=True,
    ),
    Measure("exit_histogram", "row", "object", "exits", "Samples that left at each exit.", dtype=list),
)
"""What audits measure of targets that exit early."""


def exit_histogram(exits: npt.ArrayLike, K: int) -> npt.NDArray[np.int64]:  # noqa: N803 - the field's letter
    """Count the samples that left at each exit, int64 ``[K]``.

    Args:
        exits: index of the exit that each sample took, 0 to K - 1.
        K: number of exits.

    Raises:
        UsageError: if there are no samples or an index is out of range.

    >>> exit_histogram([0, 2, 2], 4).tolist()
    [1, 0, 2, 0]
    """
    array = np.asarray(exits)
    whole = np.issubdtype(array.dtype, np.integer)
    if array.ndim != 1 or len(array) == 0 or not whole or array.min() < 0 or array.max() >= K:
        raise UsageError(
            f"expected one exit index from 0 to {K - 1} per sample, got {array.dtype} {array[:5].tolist()}"
        )
    return np.bincount(array, minlength=K).astype(np.int64)


def efficacy_step(exits: npt.ArrayLike, exit_costs: npt.ArrayLike) -> float:
    """Return 1 - mean cost: 0 if no sample leaves early.

    Args:
        exits: index of the exit that each sample took.
        exit_costs: cumulative cost at each exit as a share of the whole network's, ``[K]``, ending in 1.

    Raises:
        UsageError: on exits out of range or costs that do not rise to 1.

    >>> efficacy_step([0, 1], [0.25, 1.0])
    0.375
    """
    costs = _costs(exit_costs)
    counts = exit_histogram(exits, len(costs))
    return float(counts @ (1 - costs) / counts.sum())


def efficacy_eec(exits: npt.ArrayLike, exit_costs: npt.ArrayLike) -> float:
    """Return the area under the early-exit capability curve by the trapezoid rule.

    Args:
        exits: index of the exit that each sample took.
        exit_costs: cumulative cost at each exit as a share of the whole network's, ``[K]``, ending in 1.

    Raises:
        UsageError: on exits out of range or costs that do not rise to 1.

    >>> efficacy_eec([0, 1], [0.25, 1.0])
    0.625
    """
    costs = _costs(exit_costs)
    counts = exit_histogram(exits, len(costs))
    share = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    widths = np.diff(costs, prepend=0.0)
    return float(((share[1:] + share[:-1]) / 2) @ widths)


def exit_summary(exits: npt.ArrayLike, exit_costs: npt.ArrayLike) -> dict[str, float | list[int] | None]:
    """Return the keys of :data:`EXITS` in a summary row; None where the exits cost nothing to compare.

    Args:
        exits: index of the exit that each sample took.
        exit_costs: cumulative cost at each exit as a share of the whole network's, ``[K]``, ending in 1; NaN where the
            network costs nothing.

    >>> exit_summary([0, 1], [0.25, 1.0])
    {'efficacy_eec': 0.625, 'efficacy_step': 0.375, 'exit_histogram': [1, 1]}
    """
    costs = np.asarray(exit_costs, dtype=np.float64)
    free = bool(np.isnan(costs).all())
    return {
        "efficacy_eec": None if free else efficacy_eec(exits, costs),
        "efficacy_step": None if free else efficacy_step(exits, costs),
        "exit_histogram": exit_histogram(exits, len(costs)).tolist(),
    }


def eec_floor(exit_costs: npt.ArrayLike) -> float:
    """Return what :func:`efficacy_eec` gives when no sample leaves early: half the cost of the last stage.

    Raises:
        UsageError: on costs that do not rise to 1.

    >>> eec_floor([0.25, 0.75, 1.0])
    0.125
    """
    costs = _costs(exit_costs)
    return float(np.diff(costs, prepend=0.0)[-1] / 2)


def _costs(exit_costs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    costs = vector(exit_costs, "exit costs")
    if costs[0] < 0 or (np.diff(costs) < 0).any() or abs(costs[-1] - 1) > 1e-9:
        raise UsageError(
            f"expected cumulative exit costs that rise to 1, got {costs.tolist()}; divide by the whole network's cost"
        )
    return costs
