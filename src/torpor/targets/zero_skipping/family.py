"""What is measured of networks on an accelerator that skips zeros, beside cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from typing_extensions import override

from torpor.core.measures import Measure
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns
from torpor.targets.zero_skipping.signals import DensitySignals


class ZeroSkippingFamily(GateFamily):
    """Networks on an accelerator that skips zeros, and what is measured of them beside cost."""

    id: ClassVar[str] = "zero-skipping"
    signals: ClassVar[type | None] = DensitySignals
    needs: ClassVar[tuple[str, ...]] = ("density", "energy_ratio", "layers")
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("density", "sample", "ratio", "density", "Share of the activations that are not zero.", better="low"),
        Measure(
            "energy_ratio",
            "sample",
            "ratio",
            "energy ratio",
            "Joules of the sample alone on the 45 nm accelerator, as a share of those of a run without zeros.",
            better="low",
        ),
        Measure(
            "density_mean",
            "row",
            "ratio",
            "density",
            "Mean share of the activations that are not zero, of those that a layer reads, pixels left out.",
            better="low",
            on_console=True,
        ),
        Measure(
            "energy_ratio_mean",
            "row",
            "ratio",
            "energy ratio",
            "Mean energy as a share of that of a run without zeros, each sample alone on the 45 nm accelerator.",
            better="low",
            on_console=True,
        ),
        Measure(
            "density_layers",
            "row",
            "object",
            "density per layer",
            "Mean share of the numbers that each layer reads that are not zero.",
            dtype=dict,
        ),
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Any) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        density, ratio = target.density(outcome.work).tolist(), target.energy_ratio(outcome.work).tolist()
        return {**own, "density": density, "energy_ratio": ratio}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        read = torch.tensor([counts[: len(bare.units)] for counts in columns["work"]]).to(torch.float64).mean(0)
        most = bare.static_work().counts[0]
        words = {unit.name: place for place, unit in enumerate(bare.units) if unit.name in bare.layers}
        return {
            "density_mean": sum(columns["density"]) / len(columns["density"]),
            "energy_ratio_mean": sum(columns["energy_ratio"]) / len(columns["energy_ratio"]),
            "density_layers": {name: (read[at] / most[at]).item() for name, at in words.items()},
        }
