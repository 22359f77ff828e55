"""A target: a residual network that skips blocks, each by a gate of its own (after SkipNet, Wang et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from torpor.core.batches import Samples
from torpor.core.measures import Measure
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.data.tensors import TensorImages
from torpor.meters.flops import count_flops
from torpor.targets.base import Target
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns
from torpor.targets.weights import digest

WIDTH, BLOCKS, CLASSES = 4, 4, 2


class LayerSkippingFamily(GateFamily):
    """Networks that skip layers, and what is measured of them beside cost."""

    id: ClassVar[str] = "layer-skipping"
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("layers", "sample", "count", "layers", "Layers that ran.", better="low", dtype=int),
        Measure("layers_mean", "row", "count", "layers run", "Mean layers that ran.", better="low", on_console=True),
        Measure(
            "skipped_share", "row", "ratio", "layers skipped", "Share of all layers that were skipped.", better="high"
        ),
    )

    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "layers": target.layers(outcome.work)}

    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        mean = sum(columns["layers"]) / len(columns["layers"])
        return {"layers_mean": mean, "skipped_share": 1 - mean / BLOCKS}


class SkipNetwork(nn.Module):
    """``BLOCKS`` residual blocks; block ``k`` is skipped where the logit of gate ``k`` is 0 or more."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(BLOCKS))
        self.gates = nn.ModuleList(nn.Linear(WIDTH, 1) for _ in range(BLOCKS))
        self.head = nn.Linear(WIDTH, CLASSES)


class SkippingTarget(Target):
    """The network as deployed: a block runs for those samples of the batch alone that do not skip it."""

    family = LayerSkippingFamily()
    mechanism = "layer skipping"
    space: ImageSpace

    def __init__(self, network: SkipNetwork, side: int, data: DataSet | None = None) -> None:
        self.name, self.device, self.space = "example-skipping", torch.device("cpu"), ImageSpace((1, side, side))
        self.network = network.double().eval().requires_grad_(False)  # so that no rounding decides a gate
        self._data = data
        pixels = torch.zeros(1, 1, side, side, dtype=torch.float64)
        features = network.stem(pixels)
        always = count_flops(network.stem, pixels) + count_flops(network.head, pooled(features))
        always += sum(count_flops(gate, pooled(features)) for gate in network.gates)
        blocks = (Unit(f"block{k}", count_flops(block, features)) for k, block in enumerate(network.blocks))
        self.units = (Unit("always", always), *blocks)

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Outcome:
        features = self.network.stem(inputs.double())
        ran = []
        for block, gate in zip(self.network.blocks, self.network.gates, strict=True):
            runs = gate(pooled(features)).squeeze(1) < 0
            if runs.any():
                features[runs] += block(features[runs]).relu()
            ran.append(runs)
        return Outcome(self.network.head(pooled(features)), self._work(torch.stack(ran, 1)))

    def signals(self, inputs: Tensor) -> GateSignals:
        """Follow the path that is run, with the gradient of every block on it."""
        features, margins = self.network.stem(inputs.double()), []
        for block, gate in zip(self.network.blocks, self.network.gates, strict=True):
            margins.append(gate(pooled(features)).squeeze(1))
            runs = (margins[-1].detach() < 0).view(-1, 1, 1, 1)
            features = features + runs * block(features).relu()
        found = torch.stack(margins, 1)
        savings = torch.tensor([unit.flops for unit in self.units[1:]], dtype=torch.float64)
        return GateSignals(None, found, self._work(found.detach() < 0), savings=savings)

    def _work(self, ran: Tensor) -> Work:
        return Work(torch.cat([torch.ones(len(ran), 1, dtype=torch.bool), ran.cpu()], 1).to(torch.int64))

    def max_work(self, inputs: Tensor) -> Work:
        return Work(torch.ones(len(inputs), 1 + BLOCKS, dtype=torch.int64))

    def layers(self, work: Work) -> Tensor:
        """Return how many blocks ran, whatever else a defense counts."""
        return work.counts[:, 1 : 1 + BLOCKS].sum(1)

    def labels(self, outputs: Tensor, references: Tensor | None) -> Tensor:
        return outputs.argmax(-1) if references is None else references

    def utility(self, outputs: Tensor, references: Samples) -> Tensor:
        right = torch.full((len(outputs),), torch.nan, dtype=torch.float64)
        return (outputs.argmax(-1) == references).to(torch.float64) if len(references) else right

    def agreement(self, outputs: Tensor, clean: Tensor) -> Tensor:
        return outputs.argmax(-1) == clean.argmax(-1)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        features = self.network.stem(inputs.double())
        nothing = torch.zeros(1, BLOCKS, dtype=torch.bool)
        for k, block in enumerate(self.network.blocks):
            counts = self._work(nothing).counts.clone()
            counts[0, 0], counts[0, 1 + k] = 0, 1
            yield Work(counts), lambda block=block: block(features).relu()  # type: ignore[misc]
        yield self._work(nothing), lambda: [self.network.stem(inputs.double()), *self._gates(features)]

    def _gates(self, features: Tensor) -> list[Tensor]:
        return [layer(pooled(features)) for layer in (*self.network.gates, self.network.head)]

    def to(self, device: torch.device) -> Self:
        self.network.to(device)
        self.device = device
        return self

    def details(self) -> dict[str, Any]:
        return {"classes": CLASSES}

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), [self.network])

    def data(self, folder: Path | None) -> DataSet:
        return super().data(folder) if self._data is None else self._data


def pooled(features: Tensor) -> Tensor:
    """Return the mean of each channel, ``[B, WIDTH]``."""
    return torch.mean(features, (2, 3))


def images(count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return gray images with noise, uint8 ``[B, 1, side, side]``, and whether each is a bright one."""
    rng = torch.Generator().manual_seed(seed)
    level = 96 + 64 * torch.rand(count, 1, 1, 1, generator=rng)
    noise = torch.randn(count, 1, side, side, generator=rng) * 40
    return (level + noise).clamp(0, 255).to(torch.uint8), (level.flatten() > 128).to(torch.int64)


@torch.no_grad()
def build(side: int = 4) -> SkippingTarget:
    """Return a small network: gates are set by quantiles of their margins, the head is fitted by least squares.

    Weights are rounded, so that workers with another number of threads have the same network.
    """
    torch.manual_seed(0)
    network, (pixels, labels) = SkipNetwork().double(), images(256, side, 1)
    features = network.stem(pixels.double() / 255)
    for block, gate, share in zip(network.blocks, network.gates, (0.65, 0.5, 0.35, 0.2), strict=True):
        gate.bias -= gate(pooled(features)).quantile(share)
        features = features + (gate(pooled(features)) < 0).view(-1, 1, 1, 1) * block(features).relu()
    wanted = nn.functional.one_hot(labels, CLASSES).double() - 0.5
    inputs = torch.cat([pooled(features), torch.ones(len(pixels), 1, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(inputs, wanted).solution
    network.head.weight.copy_(solution[:-1].T)
    network.head.bias.copy_(solution[-1])
    for values in network.parameters():
        values.round_(decimals=6)
    splits = {"train": images(64, side, 1), "validation": images(64, side, 2), "test": images(48, side, 3)}
    return SkippingTarget(network, side, TensorImages(splits))
