"""GradMDM: GradAuto with losses that look at the gates nearest to their thresholds first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.gates.base import GateAttack, running
from torpor.attacks.gates.layerwise import layerwise_slope
from torpor.attacks.iterative import Slope
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import State
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper

PAPER = Paper(
    "GradMDM: Adversarial Attack on Dynamic Networks",
    "Pan et al.",
    "IEEE TPAMI",
    2023,
    "arXiv:2304.06724",
)
HALF = math.log(0.5)


@dataclass(frozen=True)
class PowerLosses(IterateObjective[GateSignals]):
    """Lengths of vectors of probabilities, by powers: of those that closed gates lack, and of those open ones spare.

    ``-||min(p, 0.5)||`` is descended, with ``p`` the probability that a unit runs, and no step may raise
    ``||1 - max(p, 0.5)||``. They are computed from logarithms: ``p ** 50`` is zero in single precision.

    Attributes:
        closed: power of the first; in the first ``warm_up`` iterations it is 1, and so is the second.
        opened: power of the second.
        warm_up: iterations.

    >>> import torch
    >>> gates = GateSignals(None, torch.tensor([[-9.0, 0.0]]), None)
    >>> losses = PowerLosses(2.0, 1.0, 0)
    >>> round(losses(gates, 0, {}).item(), 3), round(losses.guard(gates, 0).item(), 3)  # of (.5, .5), of (0, .5)
    (-0.707, 0.5)
    """

    closed: float
    opened: float
    warm_up: int

    @override
    def __call__(self, signals: GateSignals, step: int, state: State) -> Tensor:
        return self._closed(signals, 1.0 if step < self.warm_up else self.closed)

    @override
    def guard(self, signals: GateSignals, step: int) -> Tensor | None:
        return length(F.logsigmoid(-running(signals)), 1.0 if step < self.warm_up else self.opened)

    @override
    def rank(self, signals: GateSignals, loss: Tensor) -> Tensor:
        return self._closed(signals, self.closed).detach()

    def _closed(self, signals: GateSignals, power: float) -> Tensor:
        return -length(F.logsigmoid(running(signals)), power)


def length(logs: Tensor, power: float) -> Tensor:
    """Return ``(sum v ** power) ** (1 / power)`` of the values that have these logarithms, at most one half each.

    Args:
        logs: ``[B, G]``.
        power: above 0.

    >>> import torch
    >>> round(length(torch.tensor([[0.3, 0.4]]).log(), 2).item(), 3)
    0.5
    """
    return ((logs.clamp_max(HALF) * power).logsumexp(1) / power).exp()


@dataclass(frozen=True, kw_only=True)
class GradMDM(GateAttack):
    """Descend on the power loss of closed gates, less what would raise that of open ones, for 100 iterations.

    This is the paper's attack at the input. Its gradients are besides rid of conflicts at every gate of the network,
    which is an option for networks that tell what enters each gate: see
    :func:`~torpor.attacks.gates.layerwise.layerwise_slope`. The released code keeps gradients hidden between two
    backward passes, and counts gates of the other kind; here each loss counts its own.

    Attributes:
        closed: power of the loss of closed gates, after 10 iterations with 1; the paper's.
        opened: power of the loss of open gates; the paper's for networks that learned their gates with their classes,
            50 for those that learned them by reinforcement.
        layerwise: whether conflicts are resolved at every gate; else at the input alone.
    """

    id: ClassVar[str] = "gradmdm"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 100

    closed: float = 3.5
    opened: float = 0.35
    layerwise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.closed <= 0 or self.opened <= 0:
            raise UsageError(f"expected powers above 0, got {self.closed} and {self.opened}")

    @override
    def slope(self) -> Slope:
        return layerwise_slope if self.layerwise else super().slope()

    @override
    def objective(self) -> IterateObjective[GateSignals]:
        return PowerLosses(self.closed, self.opened, warm_up=10)
