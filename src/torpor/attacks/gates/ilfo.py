"""ILFO: every intermediate output that decides about the next layer is pushed to where the layer runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.gates.base import GateAttack, running
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import State
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper

PAPER = Paper(
    "ILFO: Adversarial Attack on Adaptive Neural Networks",
    "Haque et al.",
    "CVPR",
    2020,
    "",
)
SLACK = 0.05
"""By how much a probability must be above one half: at one half itself, rounding to pixels closes the gate again."""


@dataclass(frozen=True)
class OpenAll(IterateObjective[GateSignals]):
    """Raise the probability that each unit runs to ``0.5 + slack``.

    The probability is the sigmoid of what its gate lacks to save it: the gate's own probability where layers are
    skipped, one minus the probability of an end where depth halts.

    Attributes:
        slack: see :data:`SLACK`.

    >>> import torch
    >>> gates = GateSignals(None, torch.tensor([[-9.0, 0.0]]), None)  # one runs, the other is undecided
    >>> round(OpenAll(0.1)(gates, 0, {}).item(), 3)
    0.1
    """

    slack: float = SLACK

    @override
    def __call__(self, signals: GateSignals, step: int, state: State) -> Tensor:
        return (0.5 + self.slack - running(signals).sigmoid()).relu().sum(1)


@dataclass(frozen=True, kw_only=True)
class ILFO(GateAttack):
    """Minimize ``sum relu(0.5 + slack - p)`` over the probabilities that units run, for 300 iterations.

    The paper minimizes the norm of the change besides; the released optimizer is plain SGD without any limit on pixels,
    the last iterate is returned, and probabilities stop exactly at the threshold.
    """

    id: ClassVar[str] = "ilfo"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 300

    @override
    def objective(self) -> IterateObjective[GateSignals]:
        return OpenAll()
