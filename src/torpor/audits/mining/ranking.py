"""Rank inputs by cost, and say which unit makes each expensive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torpor.audits.mining.measured import MeasuredWork
from torpor.metrics.tails import benign_percentile, tails

ROUNDING = 1e-9
"""Relative difference of two sums of the same prices."""


@dataclass(frozen=True)
class ExpensiveInput:
    """One of the costliest inputs.

    Attributes:
        row: its number among the inputs.
        place: where it is, in words.
        times: how often it occurs.
        cost: of one run.
        slowdown: its cost over that of the median input; None where that costs nothing.
        bound_share: its cost over the most that structure and caps allow it; None where that is unknown.
        counts: of each unit.
        unit: that costs most above what it costs the median input.
        unit_share: of all that units cost above the median input; None if none does.
        cluster: number of the cluster that it is in, from 1.
        text: that stands for it, cut short; None where there is none, or it is not to be shown.
    """

    row: int
    place: str
    times: int
    cost: float
    slowdown: float | None
    bound_share: float | None
    counts: tuple[int, ...]
    unit: str
    unit_share: float | None
    cluster: int = 1
    text: str | None = None


@dataclass(frozen=True)
class NaturalTail:
    """How the cost of natural inputs is distributed.

    Attributes:
        n: inputs that the figures are of, each as often as it occurs.
        mean: cost.
        p50: median.
        p99: 99th percentile.
        p999: 99.9th percentile.
        max: costliest of all that were run.
        top_share: share of the whole cost that the costliest 1 % take, at least one; None if all cost nothing.
        bounded: how many of all that were run have a bound that is known.
        bound: most that structure and caps allow any of these; None if there are none.
        bound_share: the largest share of its own bound that some input takes; None likewise.
        at_bound: how many inputs are at their bound; None likewise.
        above_bound: how many are above it, so that a cap did not hold; None likewise.
    """

    n: int
    mean: float
    p50: float
    p99: float
    p999: float
    max: float
    top_share: float | None
    bounded: int
    bound: float | None
    bound_share: float | None
    at_bound: int | None
    above_bound: int | None


def natural_tail(work: MeasuredWork, times: NDArray[np.int64], sample: int | None = None) -> NaturalTail:
    """Summarize what inputs cost.

    Args:
        work: of all that were run.
        times: how often each of them occurs.
        sample: how many of them, the first ones, are a random sample, which alone tells how the rest is distributed;
            None if all were run.
    """
    cost, bounds = work.cost, work.bounds
    chosen = slice(sample)
    natural = np.sort(np.repeat(cost[chosen], times[chosen]))[::-1]
    whole = float(natural.sum())
    tail = tails(natural)
    known = bounds > 0  # of NaN neither
    limits, reached, often = bounds[known], cost[known], times[known]
    there = len(limits) > 0
    return NaturalTail(
        n=len(natural),
        mean=tail.mean,
        p50=tail.p50,
        p99=tail.p99,
        p999=benign_percentile(natural),
        max=float(cost.max()),
        top_share=float(natural[: max(1, len(natural) // 100)].sum()) / whole if whole > 0 else None,
        bounded=int(often.sum()),
        bound=float(limits.max()) if there else None,
        bound_share=float((reached / limits).max()) if there else None,
        at_bound=int(often[reached >= limits * (1 - ROUNDING)].sum()) if there else None,
        above_bound=int(often[reached > limits * (1 + ROUNDING)].sum()) if there else None,
    )


def ranked(work: MeasuredWork, top: int) -> NDArray[np.int64]:
    """Return the positions of the costliest inputs in ``work``, costliest first, equal ones by their number.

    >>> import numpy as np
    >>> counts = np.array([[1], [3], [3]])
    >>> ranked(MeasuredWork(np.array([5, 9, 7]), counts, np.ones(1), np.ones(3)), 2).tolist()
    [2, 1]
    """
    return np.lexsort((work.rows, -work.cost))[:top]


def typical(counts: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the median count of each unit, ``[U]``, the lower one where two are in the middle.

    >>> typical(np.array([[1, 9], [5, 8], [7, 7]]), np.array([1, 1, 3])).tolist()
    [7, 7]
    """
    middle = (int(times.sum()) + 1) // 2
    order = np.argsort(counts, axis=0, kind="stable")
    reached = np.cumsum(times[order], axis=0) >= middle
    found: NDArray[np.int64] = np.take_along_axis(counts, np.take_along_axis(order, reached.argmax(0)[None], 0), 0)[0]
    return found


def explained(
    counts: NDArray[np.int64], usual: NDArray[np.int64], prices: NDArray[np.float64]
) -> tuple[int, float | None]:
    """Return which unit costs most above what it costs a typical input, and its share of all that is above.

    Args:
        counts: of one input, ``[U]``.
        usual: of a typical one, ``[U]``.
        prices: ``[U]``.

    >>> explained(np.array([2, 9]), np.array([2, 1]), np.array([1.0, 10.0]))
    (1, 1.0)
    >>> explained(np.array([2, 1]), np.array([2, 1]), np.array([1.0, 10.0]))
    (1, None)
    """
    above = np.clip((counts - usual) * prices, 0, None)
    whole = float(above.sum())
    if whole > 0:
        unit = int(above.argmax())
        return unit, float(above[unit]) / whole
    return int((counts * prices).argmax()), None


def expensive(
    work: MeasuredWork,
    order: NDArray[np.int64],
    usual: NDArray[np.int64],
    units: Sequence[str],
    places: Sequence[str],
    times: Sequence[int],
    median: float,
) -> list[ExpensiveInput]:
    """Return the costliest inputs.

    Args:
        work: of all that were run.
        order: positions in it of those that are wanted.
        usual: counts of a typical input.
        units: names of the units.
        places: of these inputs, in the same order.
        times: how often each occurs, likewise.
        median: cost of the median input.
    """
    found = []
    for position, place, often in zip(order.tolist(), places, times, strict=True):
        cost, bound = work.cost_of(position), float(work.bounds[position])
        unit, share = explained(work.counts[position], usual, work.prices)
        found.append(
            ExpensiveInput(
                row=int(work.rows[position]),
                place=place,
                times=often,
                cost=cost,
                slowdown=cost / median if median > 0 else None,
                bound_share=cost / bound if bound > 0 else None,
                counts=tuple(work.counts[position].tolist()),
                unit=units[unit],
                unit_share=share,
            )
        )
    return found
