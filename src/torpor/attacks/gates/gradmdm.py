"""GradMDM: GradAuto with losses that look at the gates nearest to their thresholds first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.gates.base import GateAttack
from torpor.attacks.gates.layerwise import layerwise_slope
from torpor.attacks.iterative import Slope
from torpor.attacks.search.objectives import IterateObjective, PowerLosses
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
