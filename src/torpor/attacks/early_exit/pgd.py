"""Accuracy attacks on multi-exit networks, as baselines for what slows them down by accident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from typing_extensions import override

from torpor.attacks.iterative import GradientAttack
from torpor.attacks.search.objectives import EXITS, Objective, WrongClass
from torpor.attacks.search.optimizers import Optimizer, Steps
from torpor.core.threat import Paper

MADRY = Paper(
    "Towards Deep Learning Models Resistant to Adversarial Attacks", "Madry et al.", "ICLR", 2018, "arXiv:1706.06083"
)
HU = Paper(
    "Triple Wins: Boosting Accuracy, Robustness and Efficiency Together by Enabling Input-Adaptive Inference",
    "Hu et al.",
    "ICLR",
    2020,
    "arXiv:2002.10025",
)


@dataclass(frozen=True, kw_only=True)
class PGD(GradientAttack):
    """Raise the cross-entropy of the final classifier: 20 steps of ``2.5 eps / steps`` from a random start."""

    id: ClassVar[str] = "pgd"
    paper: ClassVar[Paper | None] = MADRY
    paper_steps: ClassVar[int] = 20
    needs: ClassVar[tuple[str, ...]] = (EXITS,)
    exits: ClassVar[Literal["final", "avg", "max"]] = "final"

    @override
    def objective(self) -> Objective:
        return WrongClass(self.exits)

    @override
    def optimizer(self) -> Optimizer:
        return Steps(2.5 * self.eps / self.iterations)


@dataclass(frozen=True, kw_only=True)
class PGDAvg(PGD):
    """Raise the mean cross-entropy over all exits."""

    id: ClassVar[str] = "pgd-avg"
    paper: ClassVar[Paper | None] = HU
    exits: ClassVar[Literal["final", "avg", "max"]] = "avg"


@dataclass(frozen=True, kw_only=True)
class PGDMax(PGD):
    """Raise the largest cross-entropy over the exits.

    The released code attacks each exit for itself and picks the strongest result, at as many times the passes as there
    are exits. Both follow one exit at a time; here that may change from step to step, so that one run has the passes
    of :class:`PGD`. Either is an accuracy attack, and a baseline.
    """

    id: ClassVar[str] = "pgd-max"
    paper: ClassVar[Paper | None] = HU
    exits: ClassVar[Literal["final", "avg", "max"]] = "max"
