"""The standard ensemble: nothing to tune, per sample the costliest of several different attacks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.attacks.early_exit.gradient import GradientAttack
from torpor.attacks.early_exit.persistent_square import PersistentSquare
from torpor.attacks.early_exit.square import Square
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.search.objectives import (
    EXITS,
    CloseGates,
    CostliestGate,
    NearestGate,
    NextGate,
    Objective,
    PricedGates,
    UniformExits,
)
from torpor.attacks.search.optimizers import AutoSteps, Optimizer
from torpor.core.paper import Paper
from torpor.core.signals import GateSignals
from torpor.targets.base import Target

CROCE = Paper(
    "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
    "Croce and Hein",
    "ICML",
    2020,
    "arXiv:2003.01690",
)


@dataclass(frozen=True, kw_only=True)
class AutoGates(GradientAttack):
    """APGD on the gates' own margins, whatever the rule."""

    id: ClassVar[str] = "apgd-gates"
    paper: ClassVar[Paper | None] = CROCE
    paper_steps: ClassVar[int] = 100

    @override
    def objective(self) -> Objective:
        return CloseGates()

    @override
    def optimizer(self) -> Optimizer:
        return AutoSteps(self.iterations, self.eps)


@dataclass(frozen=True, kw_only=True)
class AutoUniform(AutoGates):
    """DeepSloth's objective with APGD instead of a fixed schedule."""

    id: ClassVar[str] = "apgd-uniform"
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    @override
    def objective(self) -> Objective:
        return UniformExits()


@dataclass(frozen=True, kw_only=True)
class AutoNext(AutoGates):
    """APGD on the margin of the first gate that is still open: after an exit that is taken, nothing runs."""

    id: ClassVar[str] = "apgd-next"
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    @override
    def objective(self) -> Objective:
        return NextGate()


@dataclass(frozen=True, kw_only=True)
class AutoPriced(AutoGates):
    """APGD on the gates' margins, each weighted by what it saves."""

    id: ClassVar[str] = "apgd-priced"

    @override
    def objective(self) -> Objective:
        return PricedGates()


@dataclass(frozen=True, kw_only=True)
class AutoCostliest(AutoGates):
    """APGD on the margin of the gate that saves most among those that are still open."""

    id: ClassVar[str] = "apgd-costliest"

    @override
    def objective(self) -> Objective:
        return CostliestGate()


@dataclass(frozen=True, kw_only=True)
class AutoNearest(AutoGates):
    """APGD on the margin of the open gate that is nearest to its threshold."""

    id: ClassVar[str] = "apgd-nearest"

    @override
    def objective(self) -> Objective:
        return NearestGate()


QUERIES_ON_GATES = 1000
"""Of Square on gates that are not exits."""


@dataclass(frozen=True, kw_only=True)
class Standard(Attack):
    """DeepSloth, APGD on three objectives, and Square for as long as it pays.

    A sample is retired only at the static bound. Where gates are not exits, so that each saves a unit of its own, the
    members are APGD on four objectives of the gates' margins, and Square twice: on a schedule of its own, and for
    as long as it pays. A gate moves what later gates see, so that margins lead astray more often than those of exits.

    After AutoAttack (Croce and Hein, ICML 2020), whose rule "drop a sample once it is broken" does not carry over: cost
    is continuous, so every member sees every sample that could still cost more.
    """

    id: ClassVar[str] = "standard"
    paper: ClassVar[Paper | None] = CROCE
    reads: ClassVar[type | None] = GateSignals

    @classmethod
    @override
    def covered(cls) -> tuple[str, ...]:
        return tuple(member.id for member in cls().members)

    @property
    def members(self) -> tuple[Attack, ...]:
        """The attacks of the ensemble on exits, in the order in which they run."""
        return (
            DeepSloth(norm=self.norm, eps=self.eps),
            AutoGates(norm=self.norm, eps=self.eps),
            AutoNext(norm=self.norm, eps=self.eps),
            AutoUniform(norm=self.norm, eps=self.eps),
            PersistentSquare(norm=self.norm, eps=self.eps),
        )

    @property
    def members_on_gates(self) -> tuple[Attack, ...]:
        """The attacks of the ensemble on gates that are not exits, in the order in which they run."""
        gradients = (kind(norm=self.norm, eps=self.eps) for kind in (AutoGates, AutoPriced, AutoCostliest, AutoNearest))
        fixed = Square(norm=self.norm, eps=self.eps, queries=QUERIES_ON_GATES)
        return (*gradients, fixed, PersistentSquare(norm=self.norm, eps=self.eps))

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        static = target.prices.cost(target.max_work(inputs))
        best, everyone = Incumbent.begin(inputs), torch.arange(len(inputs))
        best.offer(everyone, inputs, target.attacker_cost(target.run(inputs)))
        backwards = torch.zeros(len(inputs), dtype=torch.int64)
        zero_gradient = best.cost.cpu() < static.cpu()  # until a member's gradient was not zero
        fell, black_box_won = torch.zeros_like(zero_gradient), torch.zeros_like(zero_gradient)
        for place, member in enumerate(self.members if target.offers(EXITS) else self.members_on_gates):
            rows = (best.cost.cpu() < static.cpu()).nonzero().flatten()
            if len(rows) == 0:
                break
            there = rows.to(inputs.device)
            if isinstance(member, PersistentSquare):
                member = replace(member, rivals=best.inputs[there])
            result = member(target, inputs[there], references=labels[there], seed=seed)
            found, price = result.candidates, target.attacker_cost(result.attacked)
            if place == 0:  # what the first member tried stands until a costlier one is found
                best.inputs[there] = found.inputs.to(best.inputs)
            spent = found.forwards.to(there.device) + 2  # and the member's own verification on the hard target
            better = best.offer(there, result.inputs, price, queries=spent).cpu()
            backwards[rows] += found.backwards.cpu()
            if found.zero_gradient is not None and found.loss_fell is not None:
                zero_gradient[rows] &= found.zero_gradient.cpu()
                fell[rows] |= found.loss_fell.cpu()
            if found.black_box_won is not None:
                black_box_won[rows] = found.black_box_won.cpu()
            else:
                black_box_won[rows[better]] = found.zero_gradient is None
        return Candidates(best.inputs, best.queries, backwards, zero_gradient, fell, black_box_won)
