"""Summary: the scalar part of one row of an audit, from its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.headroom import mean_headroom
from torpor.metrics.tails import interval95, tails
from torpor.metrics.vectors import same_length, vector

COLUMNS = (
    "slowdown", "headroom", "cost", "cost_clean", "cost_static", "utility", "agreement", "linf", "l2", "l1",
    "edits", "similarity", "forwards", "backwards",
)  # fmt: skip
"""Columns that are summed up."""
PRICED = ("slowdown", "headroom", "cost", "cost_clean", "cost_static")
"""Those that depend on prices."""
NULLABLE = ("headroom", "cost_static", "utility", "linf", "l2", "l1", "edits", "similarity")
"""Columns that may hold NaN, "not defined here"."""


def cost_summary(columns: Mapping[str, npt.ArrayLike]) -> dict[str, Any]:
    """Return what every summary row says of cost, output and budget, ready for JSON; None is "not defined".

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
