"""What gradient attacks on gates share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.iterative import IterativeAttack, Slope, amplify, slope_of
from torpor.attacks.search.balls import BALLS
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import RATE, Adam, Change
from torpor.core.signals import GateSignals
from torpor.core.space import DenseSpace
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class GateAttack(IterativeAttack):
    """A paper's attack on gates, in a ball instead of with a penalty on the norm: Adam from the clean input.

    The papers weigh the norm of the change against the gates, so that each image has a budget of its own. Here it is
    given, the change stays within it and on the 8-bit grid while it is optimized, and the costliest iterate counts.
    """

    reads: ClassVar[type | None] = GateSignals
    radii: ClassVar[Mapping[str, float]] = {"Linf": 0.03125, "L2": 0.9**10}

    @abstractmethod
    def objective(self) -> IterateObjective[GateSignals]:
        """Return the loss to minimize."""

    def slope(self) -> Slope:
        """Return what turns losses into a gradient."""
        return slope_of

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        space = target.space
        assert isinstance(space, DenseSpace)
        return amplify(
            target,
            inputs,
            objective=self.objective(),
            ball=BALLS[self.norm],
            eps=self.eps,
            optimizer=Adam(self.eps * max(RATE, 2 / self.iterations)),  # few steps must be able to spend the budget
            steps=self.iterations,
            variable=Change(),
            start=inputs * 0,
            slope=self.slope(),
        )
