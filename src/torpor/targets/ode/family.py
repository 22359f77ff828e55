"""Neural ordinary differential equations as a kind of target: what is measured of them, and their signals."""

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
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns


@dataclass(frozen=True, eq=False)
class SolverSignals(GateSignals):
    """Where the steps of an adaptive solver lead, as gates: after each attempted step, the end may be reached.

    Attributes:
        sizes: of the steps, in time, ``[B, 1 + max_steps]``: the first is the solver's own choice before any step, the
            others are what its controller proposed after each attempted step; after the last step, its proposal again.
            Differentiable.
    """

    sizes: Tensor = field(kw_only=True)


class OdeFamily(GateFamily):
    """Classifiers that solve an ordinary differential equation in steps of their own choice."""

    id: ClassVar[str] = "ode"
    needs: ClassVar[tuple[str, ...]] = ("steps",)
    signals: ClassVar[type | None] = SolverSignals
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure(
            "evaluations", "sample", "count", "NFE", "Evaluations of the right-hand side.", better="low", dtype=int
        ),
        Measure(
            "steps", "sample", "count", "steps", "Attempted steps, rejected ones included.", better="low", dtype=int
        ),
        Measure("steps_rejected", "sample", "count", "rejected steps", "Rejected steps.", better="low", dtype=int),
        Measure(
            "evaluations_mean",
            "row",
            "count",
            "NFE",
            "Mean evaluations of the right-hand side.",
            better="low",
            on_console=True,
        ),
        Measure("steps_mean", "row", "count", "steps", "Mean attempted steps.", better="low", on_console=True),
        Measure("steps_rejected_mean", "row", "count", "rejected steps", "Mean rejected steps.", better="low"),
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, **target.steps(outcome.work)}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        return {f"{name}_mean": sum(columns[name]) / len(columns[name]) for name in COUNTED}

    @override
    def profile(self, target: Any, work: Work, outputs: Any) -> dict[str, Any]:
        return {f"{name}_mean": counts.to(torch.float64).mean().item() for name, counts in target.steps(work).items()}


COUNTED = ("evaluations", "steps", "steps_rejected")
"""What is counted of each sample, as units of its work after the first."""


def units(ends: int, evaluation: int) -> tuple[Unit, ...]:
    """Return the units of a target: its two ends together, an evaluation, a step, and a rejected one.

    A step costs its evaluations; what else it takes is no multiply-add, and costs time alone.

    Args:
        ends: FLOPs of the network before and after the solver.
        evaluation: FLOPs of one evaluation of the right-hand side.

    >>> [unit.name for unit in units(10, 20)]
    ['ends', 'evaluations', 'steps', 'steps_rejected']
    """
    return (Unit("ends", ends), Unit("evaluations", evaluation), Unit("steps", 0), Unit("steps_rejected", 0))
