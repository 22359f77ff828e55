"""Loops: how many more decoder steps attacked inputs cost (the field's I-Loops, token ratios and cap hits)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from torpor.core.errors import UsageError
from torpor.metrics.vectors import vector

COLUMNS = ("steps", "steps_clean", "cap", "capped", "capped_clean")


def i_loops(steps: npt.ArrayLike, steps_clean: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the increase of each sample's decoder steps in per cent, ``[N]`` (Chen et al., CVPR 2022).

    Raises:
        UsageError: if a clean sample ran no step.

    >>> i_loops([30, 10], [10, 10]).tolist()
    [200.0, 0.0]
    """
    after, before = vector(steps, "steps"), vector(steps_clean, "clean steps")
    if (before <= 0).any():
        raise UsageError("expected at least one decoder step for each clean sample, got 0; count the end token")
    return 100 * (after - before) / before


class LoopSummary:
    """Gather batches of records, then summarize their decoder steps.

    >>> summary = LoopSummary()
    >>> batch = {"steps": [30, 10], "steps_clean": [10, 10], "cap": [30, 30]}
    >>> batch |= {"capped": [True, False], "capped_clean": [False, False]}
    >>> summary.update({name: np.array(values) for name, values in batch.items()})
    >>> found = summary.compute(cap=30, context=None)
    >>> found["i_loops_mean"], found["token_ratio_of_means"], found["token_mean_of_ratios"], found["cap_hit_rate"]
    (100.0, 2.0, 2.0, 0.5)
    """

    def __init__(self) -> None:
        self._batches: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in COLUMNS}

    def update(self, columns: Mapping[str, npt.ArrayLike]) -> None:
        """Add one batch: an array ``[N]`` for each name in ``COLUMNS``; others are ignored."""
        for name in COLUMNS:
            self._batches[name].append(vector(columns[name], name))

    def compute(self, *, cap: int, context: int | None) -> dict[str, Any]:
        """Return the loop keys of a summary row; ``docs/audit-format.md`` explains them.

        Args:
            cap: decoder steps at most for any sample.
            context: tokens that the model was made for; None if it has no such limit.
        """
        column = {name: np.concatenate(parts) for name, parts in self._batches.items()}
        loops = i_loops(column["steps"], column["steps_clean"])
        return {
            "i_loops_mean": float(loops.mean()),
            "i_loops_max": float(loops.max()),
            "i_loops_limit": float(i_loops(column["cap"], column["steps_clean"]).mean()),
            "steps_mean": float(column["steps"].mean()),
            "steps_clean_mean": float(column["steps_clean"].mean()),
            "token_ratio_of_means": float(column["steps"].mean() / column["steps_clean"].mean()),
            "token_mean_of_ratios": float((column["steps"] / column["steps_clean"]).mean()),
            "cap": cap,
            "cap_hit_rate": float(column["capped"].mean()),
            "cap_hit_rate_clean": float(column["capped_clean"].mean()),
            "ogf_mean": None if context is None else float(column["steps"].mean() / context),
        }
