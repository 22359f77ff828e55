"""Tails: a mean hides the one input that stalls the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.vectors import vector

CHUNK = 1 << 18
"""Resampled values held in memory at once: 2 MiB as float64, and as much again for their indices."""


class Statistic(Protocol):
    """A reduction along an axis, such as ``np.mean`` or ``np.median``."""

    def __call__(self, a: npt.NDArray[np.float64], /, *, axis: int) -> npt.NDArray[np.float64]:
        """Reduce ``axis``."""


@dataclass(frozen=True)
class Tails:
    """Where a distribution lies and how far it reaches.

    Attributes:
        mean: arithmetic mean.
        p50: median.
        p95: 95th percentile, linear between neighbors.
        p99: 99th percentile.
        max: largest value.
    """

    mean: float
    p50: float
    p95: float
    p99: float
    max: float


def tails(values: npt.ArrayLike) -> Tails:
    """Summarize one number per sample.

    Raises:
        UsageError: if there are no values or some are not finite.

    >>> tails([float(value) for value in range(101)])
    Tails(mean=50.0, p50=50.0, p95=95.0, p99=99.0, max=100.0)
    """
    array = vector(values, "values")
    p50, p95, p99 = np.quantile(array, [0.5, 0.95, 0.99])
    return Tails(float(array.mean()), float(p50), float(p95), float(p99), float(array.max()))


def bootstrap_ci95(
    values: npt.ArrayLike, statistic: Statistic = np.mean, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of a statistic, resampling the samples.

    Equal values have an interval of no width, and so has a single one, which says nothing about what others would have
    been: :func:`interval95` is what reports show.

    Args:
        values: one number per sample.
        statistic: reduction with an ``axis``.
        resamples: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Raises:
        UsageError: if there are no values, some are not finite, or ``resamples`` is less than 1.

    >>> bootstrap_ci95([2.0, 2.0, 2.0])
    (2.0, 2.0)
    """
    array = vector(values, "values")
    if resamples < 1:
        raise UsageError(f"expected at least 1 resample, got {resamples}; 1000 is usual")
    if array.min() == array.max():  # sums of equal values round, each number of them in its own way
        value = float(statistic(array[None], axis=1)[0])
        return value, value
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // len(array))
    parts = []
    for start in range(0, resamples, rows):
        picks = generator.integers(len(array), size=(min(rows, resamples - start), len(array)))
        parts.append(statistic(array[picks], axis=1))
    low, high = np.quantile(np.concatenate(parts), [0.025, 0.975])
    return float(low), float(high)


def interval95(values: npt.ArrayLike, statistic: Statistic = np.mean) -> tuple[float, float] | None:
    """Return :func:`bootstrap_ci95`, or None where there is but one value: one sample says nothing about its neighbors.

    Args:
        values: one number per sample.
        statistic: reduction with an ``axis``.

    Raises:
        UsageError: if there are no values, or some are not finite.

    >>> interval95([2.0, 2.0]), interval95([2.0])
    ((2.0, 2.0), None)
    """
    array = vector(values, "values")
    return None if len(array) == 1 else bootstrap_ci95(array, statistic)


def benign_percentile(costs: npt.ArrayLike, q: float = 0.999) -> float:
    """Return the cost that a share ``q`` of natural inputs does not exceed, linear between neighbors.

    Of fewer than ``1 / (1 - q)`` inputs it lies between the two costliest: state the number of inputs beside it.

    Args:
        costs: cost of each natural input.
        q: share between 0 and 1.

    Raises:
        UsageError: if there are no costs, some are not finite, or ``q`` is out of range.

    >>> benign_percentile([1.0, 2.0, 3.0], 0.5)
    2.0
    """
    if not 0 <= q <= 1:
        raise UsageError(f"expected a share between 0 and 1, got {q}; write 0.999 for the 99.9th percentile")
    return float(np.quantile(vector(costs, "costs"), q))
