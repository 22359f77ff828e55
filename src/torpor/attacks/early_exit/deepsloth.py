"""DeepSloth, per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.objectives import EXITS, Objective, UniformExits
from torpor.attacks.search.optimizers import Optimizer, ShrinkingBall, Steps
from torpor.core.budget import geometry
from torpor.core.threat import Paper

PAPER = Paper(
    "A Panda? No, It's a Sloth: Slowdown Attacks on Adaptive Multi-Exit Neural Network Inference",
    "Hong et al.",
    "ICLR",
    2021,
    "arXiv:2010.02432",
)
STEPS = {"Linf": 30, "L2": 550, "L1": 250}
LINF_STEP = 0.002 / 0.03125  # in units of eps
L1_STEP = 0.5 / 8


@dataclass(frozen=True, kw_only=True)
class DeepSloth(GradientAttack):
    """Push every internal classifier of each sample to the uniform distribution.

    Linf: eps 0.03125, 30 signed steps of 0.002 from a uniform start within one step. L2: 550 unit-gradient steps along
    a cosine, in a ball that shrinks by a tenth every 50 and ends at ``eps`` (0.349 when it starts at 1). L1: eps 8, 250
    steps of 0.5 spread over the 1 % of pixels with the largest gradients. With another ``eps`` the steps scale along. A
    patch has the steps of Linf, scaled to the whole range of a pixel.

    >>> DeepSloth(norm="L2", eps=0.35).iterations
    550
    """

    id: ClassVar[str] = "deepsloth"
    paper: ClassVar[Paper | None] = PAPER
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    @property
    @override
    def iterations(self) -> int:
        return self.steps or STEPS[geometry(self.norm)]

    @override
    def objective(self) -> Objective:
        return UniformExits()

    def optimizer(self) -> Optimizer:
        """Return the paper's optimizer for the norm."""
        if self.norm == "L2":
            return ShrinkingBall(self.iterations, self.eps)
        step = (L1_STEP if self.norm == "L1" else LINF_STEP) * self.eps
        if self.steps is not None:
            step = max(step, 2 * self.eps / self.steps)  # few steps must still be able to spend the budget
        return Steps(step)

    def start_radius(self) -> float:
        """Return one step for Linf, else the whole ball."""
        optimizer = self.optimizer()
        if geometry(self.norm) == "Linf" and isinstance(optimizer, Steps):
            return optimizer.size
        return super().start_radius()
