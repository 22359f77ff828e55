"""Targets that skip layers: residual blocks that run for some samples only, each by a gate of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.measures import Measure
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.family import BatchedClassifier, GateFamily, class_count
from torpor.targets.family import Columns
from torpor.targets.speed import store_channels_last
from torpor.targets.weights import digest


@dataclass(frozen=True, eq=False)
class LayerSkippingSignals(GateSignals):
    """The gates of a network that skips layers.

    Attributes:
        path: for each gate, what enters it and its block ``[B, C, H, W]``, and its margin ``[B]``, both nodes of one
            graph: what enters a block follows from what enters the block before.
    """

    path: tuple[tuple[Tensor, Tensor], ...] = ()


class LayerSkippingFamily(GateFamily):
    """Networks that skip layers."""

    id: ClassVar[str] = "layer-skipping"
    needs: ClassVar[tuple[str, ...]] = ("layers", "layer_count")
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("layers", "sample", "count", "layers", "Layers that ran.", better="low", dtype=int),
        Measure("layers_mean", "row", "count", "layers run", "Mean layers that ran.", better="low", on_console=True),
        Measure(
            "skipped_share", "row", "ratio", "layers skipped", "Share of all layers that were skipped.", better="high"
        ),
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "layers": target.layers(outcome.work)}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        mean = sum(columns["layers"]) / len(columns["layers"])
        return {"layers_mean": mean, "skipped_share": 1 - mean / bare.layer_count}


class SkippableBlock(Protocol):
    """A residual block: it returns ``relu(shortcut(x) + branch(x))``, without the branch where the gate skips it."""

    branch: nn.Module
    shortcut: nn.Module

    def logit(self, features: Tensor) -> Tensor:
        """Return the logit of the gate, ``[B]``: the branch runs where it is above 0."""


class SkippingModule(Protocol):
    """A network: a stem, skippable blocks, and a head."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one image."""

    @property
    def stem(self) -> nn.Module:
        """What maps images to the features that enter the first block."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The :class:`SkippableBlock` modules."""

    @property
    def head(self) -> nn.Module:
        """What maps the features that leave the last block to class scores ``[B, C]``."""


def _joined(block: Any, features: Tensor, runs: Tensor) -> Tensor:  # noqa: ANN401 - a SkippableBlock
    """Return what leaves a block whose branch runs for some rows, bool ``[B]``, differentiably."""
    rows, short = runs.nonzero().flatten(), block.shortcut(features)
    return torch.relu(short.index_add(0, rows, block.branch(features[rows])) if len(rows) else short)


class _Gate(nn.Module):
    """A block's gate alone, for the FLOP counter."""

    def __init__(self, block: SkippableBlock) -> None:
        super().__init__()
        self.logit = block.logit

    def forward(self, features: Tensor) -> Tensor:
        return self.logit(features)


class LayerSkippingTarget(BatchedClassifier):
    """A classifier that really skips: a branch runs for those samples of the batch alone whose gate lets it.

    Unit ``always`` is all that every sample runs: stem, gates, shortcuts and head. Unit ``block<k>`` is the branch of
    block ``k``.

    Args:
        module: the network. It is put in evaluation mode and its weights are frozen.
        name: shown in reports.
        device: where to run.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.

    Raises:
        UsageError: if the module lacks blocks, or its head does not return class scores ``[B, C]``.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    family = LayerSkippingFamily()
    mechanism = "layer skipping"
    tie = 1e-4
    space: ImageSpace

    def __init__(
        self,
        module: SkippingModule,
        *,
        name: str = "layer-skipping",
        device: str | torch.device = "cpu",
        source: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        if not len(module.blocks):
            raise UsageError("expected a module with blocks, got none; see SkippingModule")
        assert isinstance(module, nn.Module)
        self.module: Any = module.to(device).eval().requires_grad_(False)
        self.name, self.source, self.device = name, source, torch.device(device)
        self.space = ImageSpace(module.shape)
        blank = torch.zeros(2, *module.shape, device=self.device)
        store_channels_last([(self.module, nn.Identity())], blank)
        self.units, self.classes = self._measure(blank[:1])

    def _measure(self, features: Tensor) -> tuple[tuple[Unit, ...], int]:
        """Count each unit's FLOPs on one blank image, and the classes."""
        always = count_flops(self.module.stem, features)
        features = self.module.stem(features)
        units = []
        for k, block in enumerate(self.module.blocks):
            always += count_flops(_Gate(block), features) + count_flops(block.shortcut, features)
            units.append(Unit(f"block{k}", count_flops(block.branch, features)))
            features = torch.relu(block.shortcut(features) + block.branch(features))
        scores = self.module.head(features)
        return (Unit("always", always + count_flops(self.module.head, features)), *units), class_count(scores)

    def _pass(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run one batch: scores ``[B, C]``, which blocks ran ``[B, G]``, and the least gap to a threshold ``[B]``."""
        features = self.module.stem(inputs.to(self.device, copy=True))  # blocks write into it
        logits = []
        for k, block in enumerate(self.module.blocks):
            logits.append(block.logit(features))
            rows = (logits[-1] > 0).nonzero()[:, 0]
            short = block.shortcut(features)
            if len(rows) == len(features):
                features = torch.relu_(block.branch(features).add_(short))
            elif short is features and k:  # what a block before returned is its own rectification
                if len(rows):
                    whole = features.permute(0, 2, 3, 1)  # each row in one piece, which copies several times as fast
                    some = whole.index_select(0, rows).permute(0, 3, 1, 2)
                    whole.index_copy_(0, rows, torch.relu_(block.branch(some).add_(some)).permute(0, 2, 3, 1))
            else:
                if len(rows):
                    short.index_add_(0, rows, block.branch(features[rows]))
                features = torch.relu_(short)
        decisive = torch.stack(logits, 1)
        return self.module.head(features), decisive > 0, decisive.abs().amin(1)  # NaN stays NaN

    def _work(self, decided: Tensor) -> Work:
        counts = torch.ones(len(decided), len(self.units), dtype=torch.int64)
        counts[:, 1:] = decided.cpu()
        return Work(counts)

    def max_work(self, inputs: Tensor) -> Work:
        """Return one run of every unit."""
        return Work(torch.ones(len(inputs), len(self.units), dtype=torch.int64))

    def signals(self, inputs: Tensor) -> LayerSkippingSignals:
        """Follow the path that is run, differentiably: margins are those of gates that see what ran before them.

        The choice of a gate has no gradient of its own. With that of the sigmoid of its logit in its place
        (straight-through) ILFO, GradMDM and APGD recover as much at equal passes, to a few percent, and branches that
        are skipped would have to be computed.
        """
        features, path = self.module.stem(inputs.to(self.device).clone()), []
        for block in self.module.blocks:
            path.append((features, -block.logit(features)))
            features = _joined(block, features, path[-1][1].detach() < 0)
        margins = torch.stack([margin for _, margin in path], 1)
        savings = torch.tensor([unit.flops for unit in self.units[1:]], dtype=torch.float64)
        return LayerSkippingSignals(None, margins, self._work(margins.detach() < 0), savings=savings, path=tuple(path))

    @property
    def layer_count(self) -> int:
        """How many layers may be skipped."""
        return len(self.module.blocks)

    def layers(self, work: Work) -> Tensor:
        """Return how many of them ran for each sample, int64 ``[B]``, whatever else a defense counts."""
        return work.counts[:, 1 : 1 + self.layer_count].sum(1)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of each channel of what enters the head, ``[B, F]``, differentiable."""
        features: Tensor = self.module.stem(inputs.to(self.device).clone())
        for block in self.module.blocks:
            features = _joined(block, features, block.logit(features) > 0)
        return features.mean((2, 3))

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield, for each branch, a call that runs it; and one that runs all else."""
        entering = []
        with torch.no_grad():
            features = self.module.stem(inputs.to(self.device).clone())
            for block in self.module.blocks:
                entering.append(features)
                features = torch.relu(block.shortcut(features) + block.branch(features))

        @torch.no_grad()
        def always() -> object:
            self.module.stem(inputs.to(self.device).clone())
            for block, seen in zip(self.module.blocks, entering, strict=True):
                block.logit(seen), block.shortcut(seen)
            return self.module.head(features)

        def branch_of(block: SkippableBlock, seen: Tensor) -> Callable[[], object]:
            @torch.no_grad()
            def call() -> object:
                return torch.relu_(block.branch(seen).add_(seen.new_zeros(1)))

            return call

        one = torch.eye(len(self.units), dtype=torch.int64)
        yield Work(one[:1]), always
        for k, (block, seen) in enumerate(zip(self.module.blocks, entering, strict=True), 1):
            yield Work(one[k : k + 1]), branch_of(block, seen)

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.device = device
        self.module = self.module.to(device)
        return self

    def details(self) -> dict[str, Any]:
        """Return the number of classes and of layers that may be skipped; see :meth:`Target.details`."""
        return {**super().details(), "layers": self.layer_count}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; all weights count."""
        return digest(super().fingerprint(), [self.module])
