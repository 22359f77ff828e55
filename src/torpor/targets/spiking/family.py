"""What is measured of networks of spiking neurons, beside cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.core.measures import Measure
from torpor.core.signals import GateSignals
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns


@dataclass(frozen=True, eq=False)
class SpikeSignals(GateSignals):
    """What decides how often neurons fire; the gates stop a run after each timestep but the last.

    Attributes:
        spikes: of all neurons until the run stops, ``[B]``, differentiable by the surrogate.
    """

    spikes: Tensor | None = None


class SpikingFamily(GateFamily):
    """Networks whose neurons take work when they fire, for as many timesteps as a decision takes."""

    id: ClassVar[str] = "spiking"
    signals: ClassVar[type | None] = SpikeSignals
    needs: ClassVar[tuple[str, ...]] = ("spikes", "timesteps")
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("spikes", "sample", "count", "spikes", "Spikes of all neurons.", better="low", dtype=int),
        Measure("timesteps", "sample", "count", "timesteps", "Timesteps until the decision.", better="low", dtype=int),
        Measure("spikes_mean", "row", "count", "spikes", "Mean spikes of all neurons.", better="low", on_console=True),
        Measure(
            "timesteps_mean",
            "row",
            "count",
            "timesteps",
            "Mean timesteps until the decision.",
            better="low",
            on_console=True,
        ),
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Any) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        spikes, timesteps = target.spikes(outcome.work).tolist(), target.timesteps(outcome.work).tolist()
        return {**own, "spikes": spikes, "timesteps": timesteps}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        return {f"{name}_mean": sum(columns[name]) / len(columns[name]) for name in ("spikes", "timesteps")}
