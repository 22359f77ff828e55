"""SlothSpeech: sound that a speech recognizer goes on transcribing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from torpor.attacks.base import Candidates
from torpor.attacks.step_objectives import LowerEnd
from torpor.attacks.steps import Adam, Change, StepAttack, lengthen
from torpor.core.paper import Paper
from torpor.core.seeds import sample_generators
from torpor.targets.steps import StepTarget

PAPER = Paper(
    "SlothSpeech: Denial-of-service Attack Against Speech Recognition Models",
    "Haque et al.",
    "Interspeech",
    2023,
    "arXiv:2306.00794",
)
STEP = 0.1
WEIGHT = 0.1
START = 0.5


@dataclass(frozen=True, kw_only=True)
class SlothSpeech(StepAttack):
    """Lower the end token's score at every step: 101 steps of Adam, the change penalized with a weight of 0.1.

    The paper changes the recognizer's spectrogram features, by as much as it takes; here the *sound* is changed, so
    that it can be played, and within ``eps`` (samples are in [-1, 1)). Radii are ours: Linf 0.01, and L2 0.5. Of the
    paper's learning rate of 0.1 per feature remains a step of a tenth of ``eps``. The search starts from faint noise of
    half the budget, not from the sound itself: where that is silent, as behind what is said, its gradient is zero.
    """

    id: ClassVar[str] = "slothspeech"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 101
    kinds: ClassVar[tuple[str, ...]] = ("wave",)
    radii: ClassVar[Mapping[str, float]] = {"Linf": 0.01, "L2": 0.5}

    eps: float = 0.01

    def rate(self, inputs: Tensor) -> float:
        """Return Adam's learning rate, which moves every sample of the sound: a tenth of ``eps`` in its norm."""
        size = self.eps * max(STEP, 2 / self.iterations)
        return size / math.sqrt(inputs[0].numel()) if self.norm == "L2" else size

    def penalty(self, change: Tensor) -> Tensor:
        """Return a tenth of the squared L2 change, or of the largest change, of changes ``[B, T]``."""
        norm = self.ball.norm(change)
        return WEIGHT * (norm.square() if self.norm == "L2" else norm)

    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        """See :meth:`Attack.search`."""
        return lengthen(
            target,
            inputs,
            objective=LowerEnd(),
            ball=self.ball,
            eps=self.eps,
            optimizer=Adam(self.rate(inputs)),
            steps=self.iterations,
            variable=Change(),
            start=self.ball.random(sample_generators(inputs, seed, self.id), START * self.eps, inputs),
            penalty=self.penalty,
        )
