"""Speedbumps: suffixes after which speculative decoding is slower than none, in two forms that transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.decoder.objectives import masked_mean
from torpor.attacks.drafts.base import DraftSearch, entropy, guessed
from torpor.attacks.text.search.coordinates import Segment
from torpor.attacks.text.search.gradients import Loss
from torpor.core.signals import StepSignals
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

PAPER = Paper("Speedbumps", "", "arXiv", 2026, "arXiv:2610.10929")


@dataclass(frozen=True, kw_only=True)
class SpeedbumpsP(DraftSearch):
    """Raise the entropy of the target's own choices: what is hard to predict, no drafter predicts.

    Only the abstract is known: a suffix, two forms, of which P transfers over drafters. So it must go by the target
    alone; that it goes by its entropy along the answer is this implementation's reading.
    """

    id: ClassVar[str] = "speedbumps-p"
    paper: ClassVar[Paper | None] = PAPER

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        return lambda segment: predictable


@dataclass(frozen=True, kw_only=True)
class SpeedbumpsD(DraftSearch):
    """Lower the drafter's probability of what the target writes: the drafter is led astray.

    Only the abstract is known: a suffix, two forms, of which D transfers over targets. So it goes by the drafter; that
    it does so along the answer which the target gives is this implementation's reading.
    """

    id: ClassVar[str] = "speedbumps-d"
    paper: ClassVar[Paper | None] = PAPER

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        return lambda segment: likely


def predictable(signals: StepSignals) -> Tensor:
    """Return minus the mean entropy of the target's choices, ``[B]``."""
    return masked_mean(-entropy(signals.logits), signals)


def likely(signals: StepSignals) -> Tensor:
    """Return the mean log-probability that the drafter gives to what the target wrote, ``[B]``."""
    scores = guessed(signals).log_softmax(-1).gather(-1, signals.ids.unsqueeze(-1)).squeeze(-1)
    return masked_mean(scores, signals)
