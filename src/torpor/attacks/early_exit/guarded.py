"""Gates one after the other, nearest first, along what opens none that is closed: a member of the standard ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.early_exit.standard import AutoGates
from torpor.attacks.gates.base import RATE
from torpor.attacks.gates.gradmdm import PAPER, GradMDM
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import Adam, AutoSteps, Optimizer
from torpor.core.budget import geometry
from torpor.core.threat import Paper
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class GuardedGates(AutoGates):
    """GradMDM's losses of the gates that are open and of those that are closed: no step may raise the latter.

    A gate that closes moves what later gates see, so that descent on the former alone opens others again. Adam from the
    clean input finds more than APGD where a change of each value is bounded; APGD follows the losses in L2 and L1.
    """

    id: ClassVar[str] = "adam-guarded"
    paper: ClassVar[Paper | None] = PAPER

    @override
    def losses(self, labels: Tensor) -> IterateObjective[Any]:
        return GradMDM().objective()

    @override
    def optimizer(self) -> Optimizer:
        if geometry(self.norm) != "Linf":
            return AutoSteps(self.iterations, self.eps)
        reach = self.eps if self.norm == "Linf" else 1.0  # the whole range of a pixel in a patch
        return Adam(reach * max(RATE, 2 / self.iterations))

    @override
    def start(self, target: Target, inputs: Tensor, seed: int) -> Tensor:
        return inputs if self.rivals is None else self.rivals
