"""Transformers that compute part of their tokens: what is measured of them beside cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.measures import Measure
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns
from torpor.targets.tokens.signals import TokenSignals


class TokenFamily(GateFamily):
    """Vision transformers that skip tokens."""

    id: ClassVar[str] = "tokens"
    needs: ClassVar[tuple[str, ...]] = ("tokens", "token_count")
    signals: ClassVar[type | None] = TokenSignals
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("patches", "sample", "count", "patches", "Patches that ran, over all layers.", better="low", dtype=int),
        Measure("patches_mean", "row", "count", "patches run", "Mean patches that ran, over all layers.", better="low"),
        Measure(
            "token_share",
            "row",
            "ratio",
            "token utilization",
            "Patches that ran, over all layers, as a share of all patches (token utilization ratio, TUR).",
            better="low",
            on_console=True,
        ),
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "patches": target.tokens(outcome.work)}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        mean = sum(columns["patches"]) / len(columns["patches"])
        return {"patches_mean": mean, "token_share": mean / bare.token_count}
