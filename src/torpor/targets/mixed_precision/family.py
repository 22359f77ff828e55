"""What is measured of networks with outlier columns beside cost, and the signals of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.measures import Measure
from torpor.core.signals import GateSignals
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns
from torpor.targets.mixed_precision.linear import LayerInputs


@dataclass(frozen=True, eq=False)
class ColumnSignals(GateSignals):
    """Columns of every linear layer: each is a gate that stays in 8 bits while its largest input is below a threshold.

    Attributes:
        scores: class scores of the output, ``[B, C]``, differentiable, for attacks that keep the prediction.
        seen: inputs of every layer, differentiable, and the threshold that they are held against.
    """

    scores: Tensor = field(default_factory=lambda: torch.empty(0))
    seen: tuple[LayerInputs, ...] = ()


class ColumnFamily(GateFamily):
    """Networks that compute in 8 bits, and columns with outliers in full precision."""

    id: ClassVar[str] = "outlier-columns"
    needs: ClassVar[tuple[str, ...]] = ("outliers", "columns")
    signals: ClassVar[type | None] = ColumnSignals
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure(
            "outlier_columns",
            "sample",
            "count",
            "outlier columns",
            "Columns in full precision, over all layers.",
            better="low",
            dtype=int,
        ),
        Measure(
            "outlier_columns_mean",
            "row",
            "count",
            "outlier columns",
            "Mean columns in full precision.",
            better="low",
            on_console=True,
        ),
        Measure(
            "outlier_share",
            "row",
            "ratio",
            "outlier share",
            "Columns in full precision as a share of all columns.",
            better="low",
        ),
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "outlier_columns": target.outliers(outcome.work)}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        mean = sum(columns["outlier_columns"]) / len(columns["outlier_columns"])
        return {"outlier_columns_mean": mean, "outlier_share": mean / bare.columns}
