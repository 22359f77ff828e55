"""What attacks on detectors raise: scores of any class, of one class, or of the classes that make most pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import State
from torpor.core.signals import CandidateSignals

TINY = 1e-6
"""Keeps logarithms finite."""
STEEPNESS = 4.0
"""Of the soft count of candidates, in log-odds of their scores."""


@dataclass(frozen=True)
class AnyClass(IterateObjective[CandidateSignals]):
    """Raise the score of every box, whatever its class: minus the sum of their logarithms.

    The logarithm is what the Overload paper found best of the concave functions: weak boxes are raised most.

    >>> boxes = torch.zeros(1, 2, 4)
    >>> found = CandidateSignals(boxes, torch.tensor([[[0.5, 0.1], [0.1, 0.5]]]), None)
    >>> round(AnyClass()(found, 0, {}).item(), 3), round(OneClass()(found, 0, {}).item(), 3)  # 2 log 2, log 2 + log 10
    (1.386, 2.996)
    """

    @override
    def __call__(self, signals: CandidateSignals, step: int, state: State) -> Tensor:
        return -(signals.scores.amax(2) + TINY).log().sum(1)


@dataclass(frozen=True)
class OneClass(IterateObjective[CandidateSignals]):
    """Raise the score of one class in every box: the one with the largest sum of logarithms where it starts.

    Boxes of one class are compared with each other, so that they make the most pairs; and a network that is driven to
    one class proposes more boxes that are apart than one that is driven to whatever is nearest in each.
    """

    @override
    def __call__(self, signals: CandidateSignals, step: int, state: State) -> Tensor:
        logs = (signals.scores + TINY).log().sum(1)
        label = state.setdefault("label", logs.detach().argmax(1))
        return -logs.gather(1, label.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True)
class ClassPairs(IterateObjective[CandidateSignals]):
    """Raise the classes that make pairs: logarithms of all scores, each class by its share of the pairs of candidates.

    Suppression compares boxes of one class, so that ``n`` candidates of a class are some ``n^2 / 2`` pairs. Candidates
    are counted softly, with a step in log-odds at the threshold, and the shares carry no gradient.

    Attributes:
        conf: a box above it is a candidate.

    >>> boxes = torch.zeros(1, 2, 4)
    >>> found = CandidateSignals(boxes, torch.tensor([[[0.9, 0.001], [0.9, 0.001]]]), None)
    >>> round(ClassPairs(0.25)(found, 0, {}).item(), 2)  # the first class makes all pairs: -2 log 0.9
    0.21
    """

    conf: float

    @override
    def __call__(self, signals: CandidateSignals, step: int, state: State) -> Tensor:
        with torch.no_grad():
            ahead = signals.scores.logit(TINY) - torch.tensor(self.conf).logit(TINY).to(signals.scores)
            pairs = torch.sigmoid(STEEPNESS * ahead).sum(1).square()
            shares = pairs / pairs.sum(1, keepdim=True).clamp_min(TINY)
        return -((signals.scores + TINY).log().sum(1) * shares).sum(1)

    @override
    def rank(self, signals: CandidateSignals, loss: Tensor) -> Tensor:
        """Rank by all scores: the shares of the classes drift."""
        return AnyClass()(signals, 0, {}).detach()
