"""What per-sample gradient attacks on targets with gates share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.iterative import Amplifiable, IterativeAttack, amplify
from torpor.attacks.search.balls import BALLS
from torpor.attacks.search.objectives import Labeled, Objective
from torpor.attacks.search.optimizers import Optimizer
from torpor.attacks.search.variables import Change
from torpor.core.batches import sample_generators
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

    def start(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        """Return where the search starts, ``[B, C, H, W]``: a random point of the ball."""
        generators = sample_generators(inputs, seed, self.id)
        return inputs + BALLS[self.norm].random(generators, self.start_radius(), inputs)

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        return self.follow(target, inputs, labels, self.start(target, inputs, seed))

    def follow(self, signaling: Amplifiable, inputs: Tensor, labels: Tensor, start: Tensor) -> Candidates:
        """Follow the gradients of ``signaling``, the target or what stands for it, from ``start``."""
        space = signaling.space
        assert isinstance(space, DenseSpace)
        return amplify(
            signaling,
            inputs,
            objective=Labeled(self.objective(), labels),
            ball=BALLS[self.norm],
            eps=self.eps,
            optimizer=self.optimizer(),
            steps=self.iterations,
            variable=Change(),
            start=space.clamp(start) - inputs,
        )
