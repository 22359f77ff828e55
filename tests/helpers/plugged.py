"""A target as a plug-in may bring it: of a family that the package has never heard of, with methods of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.space import ImageSpace
from torpor.core.units import Behavior, Unit
from torpor.core.work import Outcome, Work
from torpor.targets.base import Target
from torpor.targets.family import Family

LAYERS = 5


@dataclass(frozen=True, eq=False)
class SkipSignals:
    """How far the mean pixel is above the level at which each layer runs, ``[B, LAYERS]``."""

    above: Tensor
    work: Work
    alarm: Tensor | None = None
    rows: Tensor | None = None

    def settled(self) -> Tensor:
        return self.above.detach().amin(1) > 0


class SkipFamily(Family[Any]):
    """Targets that skip layers."""

    id: ClassVar[str] = "skipping"
    behavior: ClassVar[Behavior] = Behavior.COMPUTATION
    signals: ClassVar[type | None] = SkipSignals

    def blank(self, target: object, count: int) -> Samples:
        return ("nothing",) * count

    def traits(self, target: object, signals: SkipSignals) -> Tensor:
        return signals.above


class Silent(Family[Any]):
    """A family that says nothing of its targets."""

    id: ClassVar[str] = "silent"
    behavior: ClassVar[Behavior] = Behavior.COMPUTATION


class SkipTarget(Target):
    """Layer ``k`` of 10 FLOPs runs while the mean pixel is above ``k / LAYERS``; the output says how bright it is."""

    family: Family[Any] = SkipFamily()
    mechanism = "layer skipping"

    def __init__(self) -> None:
        self.name, self.space, self.device = "skipping", ImageSpace((1, 4, 4)), torch.device("cpu")
        self.units = tuple(Unit(f"layer{number}", 10) for number in range(LAYERS))
        self.allowed = LAYERS

    def signals(self, inputs: Tensor) -> SkipSignals:
        above = inputs.flatten(1).mean(1, keepdim=True) - torch.arange(LAYERS) / LAYERS
        ran = (above.detach() > 0) & (torch.arange(LAYERS) < self.allowed)
        return SkipSignals(above, Work(ran.to(torch.int64)))

    def run(self, inputs: Tensor) -> Outcome:
        return Outcome(tuple(f"{mean:.3f}" for mean in inputs.flatten(1).mean(1).tolist()), self.signals(inputs).work)

    def max_work(self, inputs: Tensor) -> Work:
        return Work((torch.arange(LAYERS) < self.allowed).to(torch.int64).repeat(len(inputs), 1))

    def utility(self, outputs: Samples, references: Samples) -> Tensor:
        return torch.full((len(outputs),), torch.nan, dtype=torch.float64)

    def agreement(self, outputs: Samples, clean: Samples) -> Tensor:
        return torch.tensor([one == other for one, other in zip(outputs, clean, strict=True)])

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        yield self.run(inputs).work, lambda: self.run(inputs)

    def to(self, device: torch.device) -> Self:
        return self

    def layers(self, work: Work) -> Tensor:
        """Return how many layers ran; every column counts."""
        return work.counts.sum(1)

    def busy(self, outcome: Outcome) -> Tensor:
        """Tell which samples ran every layer."""
        return self.layers(outcome.work) == LAYERS

    def with_layers(self, allowed: int) -> Self:
        """Return this target with fewer layers."""
        other = copy.copy(self)
        other.allowed = allowed
        return other


class SilentTarget(SkipTarget):
    """The same, of a family that says nothing."""

    family: Family[Any] = Silent()
