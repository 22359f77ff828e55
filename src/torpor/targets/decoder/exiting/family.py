"""Language models with exits as a kind of target: what is measured of them, and their signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.measures import Headline, Measure
from torpor.core.signals import StepSignals
from torpor.core.work import Outcome, Work
from torpor.targets.decoder.family import StepFamily
from torpor.targets.family import Columns


@dataclass(frozen=True, eq=False)
class ExitStepSignals(StepSignals):
    """The steps of a model whose tokens leave early, and how far each token was past each exit's threshold.

    Attributes:
        margins: log odds over the threshold, ``[B, T, G]``, differentiable; 0 or more: the token leaves.
        checked: which exits each token came to, bool ``[B, T, G]``.
    """

    margins: Tensor | None = None
    checked: Tensor | None = None


class ExitStepFamily(StepFamily):
    """Language models that spend as many layers on a token as it takes to be sure of it."""

    id: ClassVar[str] = "exiting-language-model"
    signals: ClassVar[type | None] = ExitStepSignals
    needs: ClassVar[tuple[str, ...]] = ("layers_of",)
    measures: ClassVar[tuple[Measure, ...]] = (
        *StepFamily.measures,
        Measure(
            "token_layers",
            "sample",
            "count",
            "layers",
            "Layers that ran for generated tokens, summed over these tokens.",
            better="low",
            dtype=int,
        ),
        Measure("token_layers_mean", "row", "count", "layers", "Mean layers per output.", better="low"),
        Measure(
            "depth_mean",
            "row",
            "number",
            "layers per token",
            "Layers per generated token, over all samples; the first token, which the prompt makes, left out.",
            better="low",
            null="every output has one token",
            on_console=True,
        ),
    )

    @override
    def headlines(self, target: Any) -> tuple[Headline, ...]:
        return (*super().headlines(target), Headline("token_layers_mean", "layers per output"))

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "token_layers": target.layers_of(outcome.work).numpy()}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        layers, tokens = sum(columns["token_layers"]), sum(columns["steps"]) - len(columns["steps"])
        return {
            **super().summarize(target, bare, columns),
            "token_layers_mean": layers / len(columns["steps"]),
            "depth_mean": layers / tokens if tokens else None,
        }
