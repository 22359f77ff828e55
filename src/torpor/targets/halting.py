"""Targets that halt: residual blocks add halting scores until their sum is nearly 1, sample by sample."""

from __future__ import annotations

import copy
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
from torpor.targets.early_exit.exit_rules import same_sign
from torpor.targets.early_exit.family import BatchedClassifier, GateFamily, class_count
from torpor.targets.family import Columns
from torpor.targets.speed import store_channels_last
from torpor.targets.weights import digest

LEAST = 2
"""Blocks that must be left of a network: with one, there is nothing dynamic."""
FLOOR = 1e-3
"""Least mass that margins divide what is left of the threshold by."""


@dataclass(frozen=True, eq=False)
class HaltingDepthSignals(GateSignals):
    """The gates of a network that halts: gate ``k`` saves block ``k + 1``, since it stops all after block ``k``.

    Attributes:
        halting: the score of each block but the last, from 0 to 1, ``[B, G]``, differentiable.
    """

    halting: Tensor | None = None


class HaltingFamily(GateFamily):
    """Networks that halt."""

    id: ClassVar[str] = "halting"
    needs: ClassVar[tuple[str, ...]] = ("depth",)
    signals: ClassVar[type | None] = HaltingDepthSignals
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("depth", "sample", "count", "blocks", "Blocks that ran.", better="low", dtype=int),
        Measure("depth_mean", "row", "count", "blocks run", "Mean blocks that ran.", better="low", on_console=True),
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "depth": target.depth(outcome.work)}

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        return {"depth_mean": sum(columns["depth"]) / len(columns["depth"])}


class HaltingDepthModule(Protocol):
    """A network: a stem, blocks that keep the shape of its state, their halting units, and a head."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of one image."""

    @property
    def slack(self) -> float:
        """How far below 1 the sum of scores may be where a sample halts."""

    @property
    def stem(self) -> nn.Module:
        """What maps images to the state that enters the first block."""

    @property
    def blocks(self) -> nn.ModuleList:
        """What maps states to states of the same shape."""

    @property
    def halts(self) -> nn.ModuleList:
        """What maps the state after each block but the last to the logit of its halting score, ``[B, 1]``."""

    @property
    def head(self) -> nn.Module:
        """What maps the mean state to class scores ``[B, C]``."""


class HaltingDepthTarget(BatchedClassifier):
    """A classifier that really halts: samples whose halting scores add up to nearly 1 are gone from the batch.

    The answer is the head's on the mean state, weighted by the scores; the block after which a sample halts has what is
    left to 1. Paper: Graves, "Adaptive Computation Time for Recurrent Neural Networks" (arXiv:1603.08983); for residual
    blocks Figurnov et al., "Spatially Adaptive Computation Time for Residual Networks" (CVPR 2017).

    Unit ``always`` is stem and head, unit ``block<k>`` a block with its halting unit.

    Args:
        module: the network. It is put in evaluation mode and its weights are frozen.
        name: shown in reports.
        device: where to run.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.

    Raises:
        UsageError: if the module lacks blocks, or a halting unit or the head returns another shape.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    family = HaltingFamily()
    mechanism = "halting"
    tie = 1e-5
    samples = 128
    space: ImageSpace

    def __init__(
        self,
        module: HaltingDepthModule,
        *,
        name: str = "halting",
        device: str | torch.device = "cpu",
        source: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        if len(module.blocks) < LEAST or len(module.halts) != len(module.blocks) - 1:
            raise UsageError(
                f"expected {LEAST} blocks or more, and halting units for all but the last, got {len(module.blocks)} "
                f"blocks and {len(module.halts)} units; see HaltingDepthModule"
            )
        assert isinstance(module, nn.Module)
        self.module: Any = module.to(device).eval().requires_grad_(False)
        self.name, self.source, self.device = name, source, torch.device(device)
        self.space, self.cap = ImageSpace(module.shape), len(module.blocks)
        blank = torch.zeros(2, *module.shape, device=self.device)
        chain = [self.module.stem, *self.module.blocks]
        store_channels_last([(part, nn.Identity()) for part in chain], blank)
        self.units, self.classes = self._measure(blank[:1])

    @torch.no_grad()
    def _measure(self, images: Tensor) -> tuple[tuple[Unit, ...], int]:
        """Count each unit's FLOPs on one blank image, and the classes."""
        always, units = count_flops(self.module.stem, images), []
        state = self.module.stem(images)
        for k, block in enumerate(self.module.blocks):
            flops = count_flops(block, state)
            state = block(state)
            if k < len(self.module.halts):
                flops += count_flops(self.module.halts[k], state)
                if (shape := self.module.halts[k](state).shape) != (1, 1):
                    raise UsageError(f"expected one logit [B, 1] from halting unit {k}, got shape {list(shape)}")
            units.append(Unit(f"block{k}", flops))
        scores = self.module.head(state)
        return (Unit("always", always + count_flops(self.module.head, state)), *units), class_count(scores)

    def _pass(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run one batch: scores ``[B, C]``, how many blocks ran ``[B]``, and the least gap to the threshold ``[B]``."""
        state = self.module.stem(inputs.to(self.device, copy=True))  # the network may work in place
        mean = torch.zeros_like(state)
        rows = torch.arange(len(inputs), device=self.device)
        depth, gaps = torch.full_like(rows, self.cap), torch.full(rows.shape, torch.inf, device=self.device)
        mass, gap = torch.zeros_like(gaps), gaps
        for k in range(self.cap - 1):
            state = self.module.blocks[k](state)
            score = self.module.halts[k](state).squeeze(1).sigmoid()
            left = 1 - self.module.slack - mass - score
            halts = left <= 0
            gap = torch.minimum(gap, left.abs())  # NaN stays NaN
            mean.index_add_(0, rows, _weighted(torch.where(halts, 1 - mass, score), state))
            if halts.any():
                done = rows[halts]
                depth[done], gaps[done] = k + 1, gap[halts]
                stays = ~halts
                if len(done) == len(rows):
                    return self.module.head(mean), depth, gaps
                rows, state, score, mass, gap = rows[stays], state[stays], score[stays], mass[stays], gap[stays]
            mass = mass + score
        mean.index_add_(0, rows, _weighted(1 - mass, self.module.blocks[self.cap - 1](state)))
        gaps[rows] = gap
        return self.module.head(mean), depth, gaps

    def _work(self, decided: Tensor) -> Work:
        """Turn numbers of blocks ``[B]`` into counts: one run of ``always`` and of each block up to there."""
        return Work((torch.arange(len(self.units)) <= decided.cpu().unsqueeze(1)).to(torch.int64))

    def max_work(self, inputs: Tensor) -> Work:
        """Return one run of every unit up to the last block that samples may reach."""
        return self._work(torch.full((len(inputs),), self.cap))

    @override
    def least_work(self) -> Work:
        return self._work(torch.ones(1))

    def signals(self, inputs: Tensor) -> HaltingDepthSignals:
        """Evaluate every halting unit, differentiably."""
        state, logits = self.module.stem(inputs.to(self.device).clone()), []
        for block, unit in zip(self.module.blocks[: self.cap - 1], self.module.halts, strict=False):
            state = block(state)
            logits.append(unit(state).squeeze(1))
        scores = torch.stack(logits, 1)
        margins = halting_margins(scores, self.module.slack)
        savings = torch.tensor([unit.flops for unit in self.units[2 : 1 + self.cap]], dtype=torch.float64)
        work = self._work(1 + (margins.detach() < 0).sum(1))
        return HaltingDepthSignals(None, margins, work, savings=savings, halting=scores.sigmoid())

    def depth(self, work: Work) -> Tensor:
        """Return how many blocks ran for each sample, int64 ``[B]``, whatever else a defense counts."""
        return work.counts[:, 1 : len(self.units)].sum(1)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of each channel of the state after the last block, ``[B, F]``, differentiable."""
        state: Tensor = self.module.stem(inputs.to(self.device).clone())
        for block in self.module.blocks[: self.cap]:
            state = block(state)
        return state.flatten(2).mean(2)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield, for each number of blocks, a call that runs the network up to there."""

        def upto(last: int) -> Callable[[], object]:
            @torch.no_grad()
            def call() -> object:
                state = self.module.stem(inputs.to(self.device).clone())
                mean = torch.zeros_like(state)
                for k in range(last):
                    state = self.module.blocks[k](state)
                    score = self.module.halts[k](state).sigmoid() if k < self.cap - 1 else state.new_ones(1, 1)
                    mean += _weighted(score.squeeze(1), state)
                return self.module.head(mean)

            return call

        for depth in range(1, self.cap + 1):
            yield self._work(torch.full((len(inputs),), depth)), upto(depth)

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.device = device
        self.module = self.module.to(device)
        return self

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: the last block that samples may reach."""
        return self.cap - LEAST + 1

    def at_rung(self, rung: int) -> Self:
        """See :meth:`Capped.at_rung`; the block at the cap has what is left to 1, as the last one has."""
        other = copy.copy(self)
        other.cap = self.cap - rung
        return other

    def details(self) -> dict[str, Any]:
        """Return the number of classes and the most blocks that may run; see :meth:`Target.details`."""
        return {**super().details(), "blocks": self.cap}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the cap and all weights count."""
        return digest(f"{super().fingerprint()} {self.cap} {self.module.slack}", [self.module])


def halting_margins(logits: Tensor, slack: float) -> Tensor:
    """Return how far the sum of halting scores up to each block is past ``1 - slack``, in log-odds, ``[B, G]``.

    A sample has halted by block ``k`` if the score of some block up to there reaches what the scores before it leave of
    the threshold. The margin of one block is the log-odds of its score less those of what is left, which do not end
    where the sigmoid does; that of gate ``k`` is the largest so far. Its sign is that of the sum.

    Args:
        logits: of the scores, ``[B, G]``.
        slack: how far below 1 the sum may be.

    >>> halting_margins(torch.tensor([[0.0, 0.0, 0.0]]), 0.2) >= 0
    tensor([[False,  True,  True]])
    """
    scores, edge = logits.sigmoid(), 1 - slack
    sums = scores.cumsum(1)
    left = (edge - (sums - scores)).clamp_min(FLOOR)
    margins = (logits - left.logit()).cummax(1).values
    return same_sign(margins, sums - edge)


def _weighted(weights: Tensor, state: Tensor) -> Tensor:
    """Return each sample's state ``[B, ...]`` times its weight ``[B]``."""
    return weights.view(-1, *[1] * (state.ndim - 1)) * state
