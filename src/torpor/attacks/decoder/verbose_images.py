"""Verbose Images: images that make vision-language models ramble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.decoder.objectives import Verbose
from torpor.attacks.decoder.steps import StepAttack
from torpor.attacks.iterative import amplify
from torpor.attacks.search.balls import Ball, per_sample
from torpor.attacks.search.optimizers import Change, Optimizer, Project, State
from torpor.core.batches import sample_generators
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import StepTarget

PAPER = Paper(
    "Inducing High Energy-Latency of Large Vision-Language Models with Verbose Images",
    "Gao et al.",
    "ICLR",
    2024,
    "arXiv:2401.11170",
)
STEP_SIZE = 1 / 8  # of eps: 1/255 where eps is 8/255


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Steepest descent along a sum of normalized gradients (Dong et al., CVPR 2018).

    Attributes:
        size: norm of each step, in the ball's own norm.
        keep: share of the sum that stays at each step.
    """

    size: float
    keep: float = 0.9

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        length = gradient.abs().flatten(1).sum(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        gradient = gradient / per_sample(length, gradient)
        state["momentum"] = self.keep * state.get("momentum", torch.zeros_like(gradient)) + gradient
        return project(delta - self.size * ball.steepest(state["momentum"]))


@dataclass(frozen=True, kw_only=True)
class VerboseImages(StepAttack):
    """Delay the end, make tokens uncertain and different: signed steps with momentum on three losses.

    Linf 8/255, 1000 steps of 1/255, from a uniform start; with another ``eps``, steps scale along. The target decodes
    as deployed: the paper's nucleus sampling, and its choice of the best of 1000 noisy lengths, are not part of this.

    Attributes:
        reverse: take the divergence the other way round, as the released code does.
    """

    id: ClassVar[str] = "verbose-images"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 1000
    norms: ClassVar[tuple[str, ...]] = ("Linf",)
    radii: ClassVar[Mapping[str, float]] = {"Linf": 8 / 255}

    eps: float = 8 / 255
    reverse: bool = False

    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        """See :meth:`Attack.search`.

        Raises:
            UsageError: if the target shows no hidden states.
        """
        return amplify(
            target,
            inputs,
            objective=Verbose(reverse=self.reverse),
            ball=self.ball,
            eps=self.eps,
            optimizer=Momentum(self.eps * max(STEP_SIZE, 2 / self.iterations)),
            steps=self.iterations,
            variable=Change(),
            start=self.ball.random(sample_generators(inputs, seed, self.id), self.eps, inputs),
        )
