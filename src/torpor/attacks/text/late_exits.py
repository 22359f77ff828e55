"""Late exits: a suffix after which a language model's tokens leave late, and many of them come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.decoder.objectives import end_probability, masked_mean
from torpor.attacks.text.search.coordinates import CoordinateSearch, Segment
from torpor.attacks.text.search.gradients import Loss
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.exiting.family import ExitStepSignals


@dataclass(frozen=True, kw_only=True)
class LateExits(CoordinateSearch):
    """Lower the margins of the exits that tokens come to, and the probability of ending.

    From no paper: none attacks language models whose tokens leave early. The loss is the mean probability to leave,
    over tokens and the exits that they came to, plus ``ending`` times the mean probability to end; the search is greedy
    coordinate gradient. Candidates are ranked by what they really cost: tokens times layers, in FLOPs.

    Attributes:
        ending: weight of the end; 0 for layers alone.
    """

    id: ClassVar[str] = "late-exits"
    paper: ClassVar[Paper | None] = None
    reads: ClassVar[type | None] = ExitStepSignals

    eps: float = 8
    steps: int = 12
    top_k: int = 64
    candidates: int = 48
    ending: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ending < float("inf"):
            raise UsageError(f"expected a weight of 0 or more for ending, got {self.ending}")

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        return lambda segment: self._loss

    def _loss(self, signals: StepSignals) -> Tensor:
        assert isinstance(signals, ExitStepSignals)
        return leaving(signals) + self.ending * masked_mean(end_probability(signals), signals)


def leaving(signals: ExitStepSignals) -> Tensor:
    """Return the mean probability to leave at the exits that tokens came to, ``[B]``."""
    assert signals.margins is not None
    assert signals.checked is not None
    checked = signals.checked & signals.mask.unsqueeze(-1)
    likely = (signals.margins.sigmoid() * checked).sum((1, 2))
    return likely / checked.sum((1, 2)).clamp_min(1)
