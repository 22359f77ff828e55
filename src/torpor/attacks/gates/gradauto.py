"""GradAuto: closed gates are opened along what does not close open ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.gates.base import GateAttack
from torpor.attacks.search.objectives import IterateObjective, running
from torpor.attacks.search.optimizers import State
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper

PAPER = Paper(
    "GradAuto: Energy-oriented Attack on Dynamic Neural Networks",
    "Pan et al.",
    "ECCV",
    2022,
    "",
)


@dataclass(frozen=True)
class OpenClosed(IterateObjective[GateSignals]):
    """Raise the probability of units that do not run to one half, and keep that of those that run.

    >>> import torch
    >>> gates = GateSignals(None, torch.tensor([[-9.0, 0.0, 9.0]]), None)
    >>> round(OpenClosed()(gates, 0, {}).item(), 2), round(OpenClosed().guard(gates, 0).item(), 2)
    (0.5, -0.5)
    """

    @override
    def __call__(self, signals: GateSignals, step: int, state: State) -> Tensor:
        return (0.5 - running(signals).sigmoid()).relu().sum(1)

    @override
    def guard(self, signals: GateSignals, step: int) -> Tensor | None:
        return -(running(signals).sigmoid() - 0.5).relu().sum(1)


@dataclass(frozen=True, kw_only=True)
class GradAuto(GateAttack):
    """Descend on the gates that save, less the part of each gradient that would make open gates save, 300 iterations.

    The released code starts from ``tanh(x)`` where ``atanh`` is needed, so that no change is a change of contrast; here
    pixels themselves are moved. Each iteration takes two backward passes.
    """

    id: ClassVar[str] = "gradauto"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 300

    @override
    def objective(self) -> IterateObjective[GateSignals]:
        return OpenClosed()
