"""What per-sample gradient attacks on targets with gates share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.iterative import IterativeAttack, amplify
from torpor.attacks.search.balls import BALLS
from torpor.attacks.search.objectives import Labeled, Objective
from torpor.attacks.search.optimizers import Optimizer
from torpor.attacks.search.variables import Change
from torpor.core.seeds import sample_generators
from torpor.core.signals import GateSignals
from torpor.core.space import DenseSpace
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class GradientAttack(IterativeAttack):
    """A per-sample gradient attack: subclasses name the objective, the optimizer and ``paper_steps``."""

    norms: ClassVar[tuple[str, ...]] = Attack.norms
    reads: ClassVar[type | None] = GateSignals

    @abstractmethod
    def objective(self) -> Objective:
        """Return the loss to minimize."""

    @abstractmethod
    def optimizer(self) -> Optimizer:
        """Return what turns gradients into steps."""

    def start_radius(self) -> float:
        """Return the radius of the random start."""
        return self.optimizer().radius(0, self.eps)

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        space, ball = target.space, BALLS[self.norm]
        assert isinstance(space, DenseSpace)
        start = ball.random(sample_generators(inputs, seed, self.id), self.start_radius(), inputs)
        return amplify(
            target,
            inputs,
            objective=Labeled(self.objective(), labels),
            ball=ball,
            eps=self.eps,
            optimizer=self.optimizer(),
            steps=self.iterations,
            variable=Change(),
            start=space.clamp(inputs + start) - inputs,
        )
