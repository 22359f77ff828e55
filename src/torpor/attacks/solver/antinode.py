"""AntiNODE: small first steps make a solver take many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.optimizers import AutoSteps, Optimizer
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper
from torpor.targets.ode.family import SolverSignals


@dataclass(frozen=True)
class SmallSteps:
    """Shrink the step sizes that the controller proposes after the first steps (AntiNODE, ICCV Workshops 2023).

    The loss is the mean of their logarithms, so that steps of any size have gradients of one size.

    Attributes:
        first: how many proposals, from the first on; one in the paper.
    """

    first: int = 1

    def __call__(self, signals: GateSignals, labels: Tensor) -> Tensor:
        """Return the loss of each sample, ``[B]``."""
        assert isinstance(signals, SolverSignals)
        return signals.sizes[:, 1 : 1 + self.first].log().mean(1)


@dataclass(frozen=True, kw_only=True)
class AntiNODE(GradientAttack):
    """Shrink the step size that the solver proposes after its first step.

    The paper minimizes ``c`` times that size plus the squared distance, by Adam on images behind a tanh, from random
    noise that changes the image before the first step, and takes the last iterate. Here the ball bounds the change,
    APGD takes the steps, and the costliest iterate counts.

    Attributes:
        first: how many proposals are shrunk.
    """

    id: ClassVar[str] = "antinode"
    paper: ClassVar[Paper | None] = Paper(
        "AntiNODE: Evaluating Efficiency Robustness of Neural ODEs", "Haque et al.", "ICCV Workshops", 2023, ""
    )
    reads: ClassVar[type | None] = SolverSignals
    paper_steps: ClassVar[int] = 2000

    first: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first < 1:
            raise UsageError(f"expected 1 proposal or more to shrink, got {self.first}")

    @override
    def objective(self) -> SmallSteps:
        return SmallSteps(self.first)

    @override
    def optimizer(self) -> Optimizer:
        return AutoSteps(self.iterations, self.eps)
