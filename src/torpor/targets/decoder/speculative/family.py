"""Speculative decoding as a kind of target: what is measured of it, and its signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

COUNTED = ("passes", "drafted", "accepted")


@dataclass(frozen=True, eq=False)
class DraftSignals(StepSignals):
    """The steps of the large model, and what the drafter thinks of each.

    Attributes:
        draft_logits: the drafter's scores of the same next tokens, ``[B, T, V]``, differentiable; None where the
            drafter is no model.
    """

    draft_logits: Tensor | None = None


class DraftFamily(StepFamily):
    """Language models whose tokens are guessed by a cheaper drafter and checked several at a time."""

    id: ClassVar[str] = "speculative"
    signals: ClassVar[type | None] = DraftSignals
    needs: ClassVar[tuple[str, ...]] = ("rounds",)
    measures: ClassVar[tuple[Measure, ...]] = (
        *StepFamily.measures,
        Measure("passes", "sample", "count", "passes", "Passes of the large model.", better="low", dtype=int),
        Measure("drafted", "sample", "count", "guesses", "Tokens that the drafter guessed.", better="low", dtype=int),
        Measure("accepted", "sample", "count", "accepted", "Guesses that became output.", better="high", dtype=int),
        Measure(
            "over_plain",
            "sample",
            "ratio",
            "over plain",
            "Cost over that of decoding the same output without a drafter.",
            better="low",
        ),
        Measure("passes_mean", "row", "count", "passes", "Mean passes of the large model.", better="low"),
        Measure("drafted_mean", "row", "count", "guesses", "Mean tokens that the drafter guessed.", better="low"),
        Measure(
            "accepted_length",
            "row",
            "number",
            "accepted",
            "Accepted guesses per pass of the large model, over all samples.",
            better="high",
            on_console=True,
        ),
        Measure(
            "acceptance",
            "row",
            "ratio",
            "acceptance",
            "Share of the guesses that became output.",
            better="high",
            null="nothing was guessed",
        ),
        Measure(
            "over_plain_mean",
            "row",
            "ratio",
            "over plain",
            "Mean of cost over that of decoding the same output without a drafter.",
            better="low",
        ),
    )

    @override
    def headlines(self, target: Any) -> tuple[Headline, ...]:
        return (*super().headlines(target), Headline("passes_mean", "passes of the large model"))

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        ran = {name: values.numpy() for name, values in target.rounds(outcome.work).items()}
        return {**own, **ran, "over_plain": target.over_plain(outcome.work).numpy()}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        total = {name: sum(columns[name]) for name in COUNTED}
        count = len(columns["passes"])
        return {
            **super().summarize(target, bare, columns),
            "passes_mean": total["passes"] / count,
            "drafted_mean": total["drafted"] / count,
            "accepted_length": total["accepted"] / max(1, total["passes"]),
            "over_plain_mean": sum(columns["over_plain"]) / count,
            "acceptance": total["accepted"] / total["drafted"] if total["drafted"] else None,
        }

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        found = {name: values.double() for name, values in target.rounds(work).items()}
        return {
            **super().profile(target, work, outputs),
            "passes_mean": found["passes"].mean().item(),
            "accepted_length": (found["accepted"].sum() / found["passes"].sum().clamp_min(1)).item(),
        }

    @override
    def profile_rows(self, profile: Mapping[str, Any]) -> list[tuple[str, str]]:
        accepted = f"{profile['accepted_length']:.3g} per pass, {profile['passes_mean']:.4g} passes"
        return [*super().profile_rows(profile), ("accepted guesses", accepted)]
