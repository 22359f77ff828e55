"""ILFO: every intermediate output that decides about the next layer is pushed to where the layer runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import ClassVar, Literal

from torch import Tensor
from typing_extensions import override

from torpor.attacks.gates.base import GateAttack
from torpor.attacks.search.objectives import IterateObjective, running
from torpor.attacks.search.optimizers import State
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals
from torpor.core.threat import Paper
from torpor.targets.halting import HaltingDepthSignals
from torpor.targets.tokens.signals import PatchHaltingSignals

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


@singledispatch
def halting_scores(signals: GateSignals) -> Tensor:
    """Return the halting scores that a network adds up, from 0 to 1, ``[B, ...]``; registered by the type of signals.

    Raises:
        UsageError: if it has none.
    """
    raise UsageError("expected a network that halts, got gates without halting scores; use ilfo without form=halting")


@halting_scores.register
def of_blocks(signals: HaltingDepthSignals) -> Tensor:
    """Return the score of each block but the last, ``[B, G]``."""
    assert signals.halting is not None
    return signals.halting


@halting_scores.register
def of_patches(signals: PatchHaltingSignals) -> Tensor:
    """Return the score of each patch after each layer but the last, ``[B, L - 1, N]``; 0 where it did not run."""
    return signals.halting[:, :-1]


@dataclass(frozen=True)
class HaltLate(IterateObjective[GateSignals]):
    """Lower each halting score below ``0.5 - slack``: OpenAll with one minus the score as the probability.

    Attributes:
        slack: see :data:`SLACK`.
    """

    slack: float = SLACK

    @override
    def __call__(self, signals: GateSignals, step: int, state: State) -> Tensor:
        return (halting_scores(signals) - 0.5 + self.slack).relu().flatten(1).sum(1)


@dataclass(frozen=True, kw_only=True)
class ILFO(GateAttack):
    """Minimize ``sum relu(0.5 + slack - p)`` over the probabilities that units run, for 300 iterations.

    The paper minimizes the norm of the change besides; the released optimizer is plain SGD without any limit on pixels,
    the last iterate is returned, and probabilities stop exactly at the threshold.

    For networks that halt, the paper's ``p`` is one minus the halting score of each layer, however many layers ran
    before: that is ``form="halting"``. Scores below one half still add up to a halt, and have no gradient any more, so
    that the default is to look at the sums, which decide.

    Attributes:
        form: ``"gates"``, for the probability that each unit runs, or ``"halting"``.
    """

    id: ClassVar[str] = "ilfo"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 300

    form: Literal["gates", "halting"] = "gates"

    @override
    def objective(self) -> IterateObjective[GateSignals]:
        return HaltLate() if self.form == "halting" else OpenAll()
