"""Summary: the scalar part of one row of an audit, from its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.efficacy import efficacy_eec, efficacy_step, exit_histogram
from torpor.metrics.headroom import mean_headroom
from torpor.metrics.tails import interval95, tails
from torpor.metrics.vectors import vector

COLUMNS = (
    "slowdown", "headroom", "flops", "flops_clean", "flops_static", "utility", "agreement", "linf", "l2", "l1",
    "edits", "similarity", "forwards", "backwards",
)  # fmt: skip
"""Columns of every batch; ``exit`` comes on top for targets that exit early."""
NULLABLE = ("headroom", "utility", "linf", "l2", "l1", "edits", "similarity")
"""Columns that may hold NaN, "not defined here"."""


class CostSummary:
    """Gather batches of records, then summarize them.

    >>> summary = CostSummary()
    >>> ones = np.ones(2)
    >>> batch = {name: ones for name in COLUMNS} | {"slowdown": np.array([1.0, 3.0])}
    >>> summary.update(batch)
    >>> summary.compute(None)["slowdown_mean"]
    2.0
    """

    def __init__(self) -> None:
        self._batches: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in COLUMNS}
        self._exits: list[npt.NDArray[Any]] = []

    def update(self, columns: Mapping[str, npt.ArrayLike]) -> None:
        """Add one batch of records.

        Args:
            columns: one array ``[N]`` per name in ``COLUMNS``, and ``exit`` for targets that exit early. Others are
                ignored. Only those in ``NULLABLE`` may hold NaN, "not defined".

        Raises:
            UsageError: if a column is missing, has another length, or holds values that are not finite.
        """
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise UsageError(f"expected columns {', '.join(COLUMNS)}, got none for {', '.join(missing)}")
        batch = {name: vector(columns[name], name, nan=name in NULLABLE) for name in COLUMNS}
        exits = [np.asarray(columns["exit"])] if "exit" in columns else []
        lengths = {len(column) for column in (*batch.values(), *exits)}
        if len(lengths) > 1:
            raise UsageError(f"expected columns of one length, got lengths {sorted(lengths)}")
        for name, column in batch.items():
            self._batches[name].append(column)
        self._exits += exits

    def compute(self, exit_costs: npt.ArrayLike | None = None) -> dict[str, Any]:
        """Return what ``docs/audit-format.md`` says of a summary row, ready for JSON; None is "not defined".

        Args:
            exit_costs: cumulative cost at each exit as a share of the whole network's, ``[K]``; None for targets
                without exits.

        Raises:
            UsageError: before the first batch, or if exit costs are given but some batch had no ``exit``.
        """
        if not self._batches["slowdown"]:
            raise UsageError("expected at least one batch of records, got none; call update first")
        column = {name: np.concatenate(parts) for name, parts in self._batches.items()}
        tail = tails(column["slowdown"])
        return {
            "n": len(column["slowdown"]),
            "flops_mean": float(column["flops"].mean()),
            "flops_clean_mean": float(column["flops_clean"].mean()),
            "flops_static": float(column["flops_static"].max()),
            "slowdown_mean": tail.mean,
            "slowdown_p50": tail.p50,
            "slowdown_p95": tail.p95,
            "slowdown_p99": tail.p99,
            "slowdown_max": tail.max,
            "slowdown_ci95": None if (ci95 := interval95(column["slowdown"])) is None else list(ci95),
            "headroom_mean": mean_headroom(column["headroom"]),
            **self._efficacy(exit_costs),
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

    def _efficacy(self, exit_costs: npt.ArrayLike | None) -> dict[str, Any]:
        """Return the early-exit keys; None where there are no exits or they cost nothing to compare."""
        if exit_costs is None:
            return {"efficacy_eec": None, "efficacy_step": None, "exit_histogram": None}
        if len(self._exits) != len(self._batches["slowdown"]):
            raise UsageError("expected a column exit in every batch, got batches without; pass exit_costs=None instead")
        exits, costs = np.concatenate(self._exits), np.asarray(exit_costs, dtype=np.float64)
        free = bool(np.isnan(costs).all())
        return {
            "efficacy_eec": None if free else efficacy_eec(exits, costs),
            "efficacy_step": None if free else efficacy_step(exits, costs),
            "exit_histogram": exit_histogram(exits, len(costs)).tolist(),
        }


def _known(column: npt.NDArray[np.float64], summarize: Callable[[npt.NDArray[np.float64]], Any]) -> float | None:
    """Summarize a column; None unless every sample has a value."""
    return None if np.isnan(column).any() else float(summarize(column))
