"""SpikeAttack: inputs on which spiking neurons fire often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.objectives import Objective
from torpor.attacks.search.optimizers import Optimizer, Steps
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper
from torpor.targets.spiking.family import SpikeSignals

PAPER = Paper("Efficiency Attacks on Spiking Neural Networks", "Krithivasan et al.", "DAC", 2022, "")


@dataclass(frozen=True)
class ManySpikes:
    """Raise the number of spikes of all neurons, whatever they cost.

    >>> import torch
    >>> ManySpikes()(SpikeSignals(None, torch.zeros(1, 0), None, spikes=torch.tensor([7.0])), torch.tensor([0])).item()
    -7.0
    """

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        spikes = cast(SpikeSignals, signals).spikes
        assert spikes is not None
        return -spikes


@dataclass(frozen=True, kw_only=True)
class SpikeAttack(GradientAttack):
    """Raise the number of spikes by PGD, with a surrogate for the derivative of a spike.

    Attributes:
        surrogate: ``"atan"``, ``"fast-sigmoid"`` or ``"box"``; see
            :data:`torpor.targets.spiking.network.SURROGATES`. On ``snn-digits`` the default finds most spikes.
    """

    id: ClassVar[str] = "spikeattack"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 100
    reads: ClassVar[type | None] = SpikeSignals
    needs: ClassVar[tuple[str, ...]] = ("with_surrogate",)

    surrogate: Literal["atan", "fast-sigmoid", "box"] = "fast-sigmoid"

    @override
    def objective(self) -> Objective:
        return ManySpikes()

    @override
    def optimizer(self) -> Optimizer:
        return Steps(2.5 * self.eps / self.iterations)

    @override
    def search(self, target: Any, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        smooth = target.with_surrogate(self.surrogate)
        return self.follow(smooth, inputs, labels, self.start(target, inputs, seed))
