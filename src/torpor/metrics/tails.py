"""Tails: a mean hides the one input that stalls the queue; and the summary of a row that shows both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.headroom import mean_headroom
from torpor.metrics.vectors import same_length, vector

CHUNK = 1 << 18
"""Resampled values held in memory at once: 2 MiB as float64, and as much again for their indices."""

COLUMNS = (
    "slowdown", "headroom", "cost", "cost_clean", "cost_static", "utility", "agreement", "linf", "l2", "l1",
    "edits", "similarity", "forwards", "backwards",
)  # fmt: skip
"""Columns that are summed up."""
PRICED = ("slowdown", "headroom", "cost", "cost_clean", "cost_static")
"""Those that depend on prices."""
NULLABLE = ("headroom", "cost_static", "utility", "linf", "l2", "l1", "edits", "similarity")
"""Columns that may hold NaN, "not defined here"."""


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


def cost_summary(columns: Mapping[str, npt.ArrayLike]) -> dict[str, Any]:
    """Return every summary row's keys of cost, output and budget, ready for JSON; None is "not defined".

    Args:
        columns: one array ``[N]`` per name in ``COLUMNS``; others are ignored. Only those in ``NULLABLE`` may hold NaN,
            "not defined".

    Raises:
        UsageError: if a column is missing, has another length, or holds values that are not finite.

    >>> ones = np.ones(2)
    >>> cost_summary({name: ones for name in COLUMNS} | {"slowdown": np.array([1.0, 3.0])})["slowdown_mean"]
    2.0
    """
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise UsageError(f"expected columns {', '.join(COLUMNS)}, got none for {', '.join(missing)}")
    column = {name: vector(columns[name], name, nan=name in NULLABLE) for name in COLUMNS}
    same_length(**column)
    return {
        "n": len(column["slowdown"]),
        **priced_summary(column),
        "utility": _known(column["utility"], np.mean),
        "agreement": float(column["agreement"].mean()),
        "linf_max": _known(column["linf"], np.max),
        "l2_mean": _known(column["l2"], np.mean),
        "l1_mean": _known(column["l1"], np.mean),
        "edits_mean": _known(column["edits"], np.mean),
        "similarity_mean": _known(column["similarity"], np.mean),
        "forwards": int(column["forwards"].sum()),
        "backwards": int(column["backwards"].sum()),
    }


def priced_summary(columns: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Return the part of :func:`cost_summary` that depends on prices, from the columns in ``PRICED``.

    >>> column = np.array([1.0, 3.0])
    >>> priced_summary(dict.fromkeys(PRICED, column))["cost_static"]
    3.0
    """
    tail = tails(columns["slowdown"])
    return {
        "cost_mean": float(columns["cost"].mean()),
        "cost_clean_mean": float(columns["cost_clean"].mean()),
        "cost_static": _known(columns["cost_static"], np.max),
        "slowdown_mean": tail.mean,
        "slowdown_p50": tail.p50,
        "slowdown_p95": tail.p95,
        "slowdown_p99": tail.p99,
        "slowdown_max": tail.max,
        "slowdown_ci95": None if (ci95 := interval95(columns["slowdown"])) is None else list(ci95),
        "headroom_mean": mean_headroom(columns["headroom"]),
    }


def _known(column: npt.NDArray[np.float64], summarize: Callable[[npt.NDArray[np.float64]], Any]) -> float | None:
    """Summarize a column; None unless every sample has a value."""
    return None if np.isnan(column).any() else float(summarize(column))
