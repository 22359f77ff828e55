"""SlothSpeech: sound that a speech recognizer keeps transcribing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.decoder.objectives import LowerEnd
from torpor.attacks.decoder.steps import StepAttack
from torpor.attacks.iterative import amplify
from torpor.attacks.search.optimizers import Adam, Change
from torpor.core.batches import sample_generators
from torpor.core.budget import Budget
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import StepTarget

PAPER = Paper(
    "SlothSpeech: Denial-of-service Attack Against Speech Recognition Models",
    "Haque et al.",
    "Interspeech",
    2023,
    "arXiv:2306.00794",
)
STEP_SIZE = 0.1
WEIGHT = 0.1
START = 0.5
FEATURE_EPS = 0.25


@dataclass(frozen=True, kw_only=True)
class SlothSpeech(StepAttack):
    """Lower the end token's score at every step: 101 steps of Adam, the change penalized with a weight of 0.1.

    Of a target that reads sounds, the *sound* is changed, so that it can be played, and within ``eps`` (samples are in
    [-1, 1)). Radii are ours: Linf 0.01, and L2 0.5. Of the paper's learning rate of 0.1 per feature remains a step of a
    tenth of ``eps``. The search starts from faint noise of half the budget, not from the sound itself: where that is
    silent, as after what is said, its gradient is zero.

    Of a target that reads features (:func:`torpor.targets.decoder.generation.reading_features`), the spectrogram is
    changed, as in the paper: from the clean one, with its learning rate. No sound need have such a spectrogram. The
    paper sets no limit but the penalty; the default radii, Linf 0.25 (10 decibels) and L2 0.25 per feature, are ours.
    """

    id: ClassVar[str] = "slothspeech"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 101
    kinds: ClassVar[tuple[str, ...]] = ("wave", "features")
    radii: ClassVar[Mapping[str, float]] = {"Linf": 0.01, "L2": 0.5}

    eps: float = 0.01

    @classmethod
    def default_budget(
        cls, norm: str | None = None, eps: str | float | None = None, shape: tuple[int, ...] | None = None
    ) -> Budget:
        """Return the budget for sounds or, of two axes, features; see :meth:`Attack.default_budget`."""
        if eps is None and shape is not None and len(shape) == 2:
            eps = FEATURE_EPS * (math.sqrt(math.prod(shape)) if norm == "L2" else 1)
        return super().default_budget(norm, eps, shape)

    def rate(self, inputs: Tensor) -> float:
        """Return Adam's learning rate: the paper's for features, a tenth of ``eps``, in its norm, for sounds."""
        if inputs.ndim == 3:
            return STEP_SIZE
        size = self.eps * max(STEP_SIZE, 2 / self.iterations)
        return size / math.sqrt(inputs[0].numel()) if self.norm == "L2" else size

    def penalty(self, change: Tensor) -> Tensor:
        """Return a tenth of the squared L2 change, or of the largest change, of changes ``[B, T]``."""
        norm = self.ball.norm(change)
        return WEIGHT * (norm.square() if self.norm == "L2" else norm)

    def start(self, inputs: Tensor, seed: int) -> Tensor:
        """Return the first change: noise for sounds ``[B, T]``, nothing for features ``[B, M, T]``."""
        if inputs.ndim == 3:
            return torch.zeros_like(inputs)
        return self.ball.random(sample_generators(inputs, seed, self.id), START * self.eps, inputs)

    @override
    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        return amplify(
            target,
            inputs,
            objective=LowerEnd(),
            ball=self.ball,
            eps=self.eps,
            optimizer=Adam(self.rate(inputs)),
            steps=self.iterations,
            variable=Change(),
            start=self.start(inputs, seed),
            penalty=self.penalty,
        )
