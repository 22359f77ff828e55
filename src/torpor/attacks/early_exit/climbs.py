"""Members of the standard ensemble that follow gradients: one climb each, on an objective of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.objectives import (
    CloseGates,
    CostliestGate,
    ExpectedCost,
    IterateObjective,
    NearestGate,
    Objective,
    PowerLosses,
    PricedGates,
)
from torpor.attacks.search.optimizers import RATE, Adam, AutoSteps, Optimizer
from torpor.attacks.unmasked import Unmasked
from torpor.core.budget import geometry
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper
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
    """APGD on the gates' own margins in log-odds, whatever the rule.

    Attributes:
        decay: weight of a gate behind an open one; see :class:`~torpor.attacks.search.objectives.CloseGates`.
        unmasked: whether to follow the derivatives of what ran instead of the network's own.
        resumes: whether an ensemble starts it from the best that is known; else it starts on its own.
        rivals: where to start, ``[B, C, H, W]``, such as what other attacks found; a random point of the ball if None.
    """

    id: ClassVar[str] = "apgd-gates"
    paper: ClassVar[Paper | None] = CROCE
    paper_steps: ClassVar[int] = 100

    decay: float = 1.0
    unmasked: bool = False
    resumes: bool = False
    rivals: Tensor | None = field(default=None, compare=False, repr=False)

    @override
    def objective(self) -> Objective:
        return CloseGates(decay=self.decay)

    @override
    def optimizer(self) -> Optimizer:
        return AutoSteps(self.iterations, self.eps)

    @override
    def start(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        return super().start(target, inputs, seed) if self.rivals is None else self.rivals

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        signaling = Unmasked(target) if self.unmasked else target
        return self.follow(signaling, inputs, labels, self.start(target, inputs, seed))


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


@dataclass(frozen=True, kw_only=True)
class AutoExpected(AutoGates):
    """APGD on the cost that the target expects, or that its margins would give if gates opened by degrees.

    It goes on to find for longer than the others, so that it has 300 steps.
    """

    id: ClassVar[str] = "apgd-expected"
    paper_steps: ClassVar[int] = 300

    @override
    def objective(self) -> Objective:
        return ExpectedCost()


@dataclass(frozen=True, kw_only=True)
class GuardedGates(AutoGates):
    """GradMDM's losses of the gates that are open and of those that are closed: no step may raise the latter.

    A gate that closes moves what later gates see, so that descent on the former alone opens others again. Adam from the
    clean input finds more than APGD where a change of each value is bounded; APGD follows the losses in L2 and L1.
    """

    id: ClassVar[str] = "adam-guarded"

    @override
    def losses(self, labels: Tensor) -> IterateObjective[Any]:
        return PowerLosses(3.5, 0.35, warm_up=10)

    @override
    def optimizer(self) -> Optimizer:
        if geometry(self.norm) != "Linf":
            return AutoSteps(self.iterations, self.eps)
        reach = self.eps if self.norm == "Linf" else 1.0  # the whole range of a pixel in a patch
        return Adam(reach * max(RATE, 2 / self.iterations))

    @override
    def start(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        return inputs if self.rivals is None else self.rivals


@dataclass(frozen=True, kw_only=True)
class KeptTokens(AutoGates):
    """DeSparsify without its weight of the class, in more steps: small ones at the end find what APGD does not."""

    id: ClassVar[str] = "cosine-tokens"

    @staticmethod
    def joins(signals: GateSignals) -> bool:
        """Tell whether DeSparsify has a loss for a mechanism's signals."""
        from torpor.attacks.tokens.desparsify import sparsity_loss

        return sparsity_loss.dispatch(type(signals)) is not sparsity_loss.dispatch(object)

    @override
    def objective(self) -> Objective:
        from torpor.attacks.tokens.desparsify import Sparsity

        return Sparsity(keep=0)

    @override
    def optimizer(self) -> Optimizer:
        from torpor.attacks.tokens.desparsify import falling_steps

        return falling_steps(self.eps, self.iterations)

    @override
    def start(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        return inputs
