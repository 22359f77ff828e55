"""What is measured of mixtures of experts: how uneven loads are, against the worst there is, and what was dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.measures import COST, Headline, Measure
from torpor.core.units import Behavior
from torpor.core.work import Outcome, Work
from torpor.metrics.efficacy import CLASS
from torpor.targets.experts.loads import imbalance
from torpor.targets.family import Columns, Family

ONE_DEVICE = "all experts run on one device here, so that no clock shows how uneven the loads of several would be"


class ExpertFamily(Family[Any]):
    """Language models with experts on several devices, which wait for the busiest one."""

    id: ClassVar[str] = "experts"
    behavior: ClassVar[Behavior] = Behavior.COMPUTATION
    default_attacks: ClassVar[tuple[str, ...]] = ("standard",)
    needs: ClassVar[tuple[str, ...]] = ("balance", "placement", "loads")
    batch_size: ClassVar[int] = 16
    measures: ClassVar[tuple[Measure, ...]] = (
        CLASS,
        Measure("assigned", "sample", "count", "assigned", "Tokens times experts that were computed.", dtype=int),
        Measure(
            "busiest", "sample", "count", "busiest", "The same on the busiest device, over layers.", "low", dtype=int
        ),
        Measure("dropped", "sample", "count", "dropped", "The same that found their expert full.", "low", dtype=int),
        Measure("moved", "sample", "count", "moved", "The same that another device computed.", "low", dtype=int),
        Measure(
            "imbalance",
            "sample",
            "number",
            "imbalance",
            "Load of the busiest device over an even share of all, dropped ones included.",
            better="low",
            null="the input was rejected",
        ),
        Measure(
            "imbalance_mean",
            "row",
            "number",
            "imbalance",
            "Mean of the busiest device's load over an even share of all, dropped ones included.",
            better="low",
            null="all inputs were rejected",
            on_console=True,
        ),
        Measure(
            "imbalance_tmi",
            "row",
            "number",
            "max. imbalance",
            "Theoretical maximum of the imbalance without guards: min(k, experts per device) x devices / k.",
        ),
        Measure("dropped_share", "row", "ratio", "dropped", "Share of assignments that were dropped.", better="low"),
        Measure("moved_share", "row", "ratio", "moved", "Share of assignments that moved.", better="low"),
    )

    @override
    def standard_on(self, target: Any) -> str:
        return "standard-text"

    @override
    def headlines(self, target: Any) -> tuple[Headline, ...]:
        return COST, Headline("imbalance_mean", "imbalance of devices")

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        ran: Mapping[str, Tensor] = target.balance(outcome.work)
        uneven = imbalance(ran["busiest"], ran["assigned"] + ran["dropped"], target.placement.devices).tolist()
        return {
            "reference": references if isinstance(references, Tensor) and len(references) else None,
            **{name: values.numpy() for name, values in ran.items()},
            "imbalance": [None if value != value else value for value in uneven],
        }

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        known = [value for value in columns["imbalance"] if value is not None and value == value]
        assigned, dropped, moved = (int(sum(columns[name])) for name in ("assigned", "dropped", "moved"))
        return {
            "imbalance_mean": sum(known) / len(known) if known else None,
            "imbalance_tmi": bare.placement.most_imbalance,
            "dropped_share": dropped / max(1, assigned + dropped),
            "moved_share": moved / max(1, assigned),
        }

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        ran = target.balance(work)
        uneven = imbalance(ran["busiest"], ran["assigned"] + ran["dropped"], target.placement.devices)
        return {
            "imbalance_mean": uneven.mean().item(),
            "imbalance_tmi": target.placement.most_imbalance,
            "dropped_share": (ran["dropped"].sum() / (ran["dropped"] + ran["assigned"]).sum().clamp_min(1)).item(),
        }

    @override
    def untimed(self, target: Any) -> str:
        return ONE_DEVICE

    @override
    def blank(self, target: Any, count: int) -> Samples:
        return torch.full((count, target.classes), torch.nan, device=target.device)
