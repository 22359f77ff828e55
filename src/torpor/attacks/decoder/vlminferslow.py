"""VLMInferSlow: longer answers without gradients, from the scores of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.decoder.objectives import end_probability, masked_mean
from torpor.attacks.search.balls import BALLS, apply, per_sample
from torpor.attacks.search.incumbent import Incumbent
from torpor.core.batches import draw, sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals, allowed, single
from torpor.core.space import DenseSpace
from torpor.core.threat import Access, Paper
from torpor.targets.decoder.contract import StepTarget

PAPER = Paper(
    "VLMInferSlow: Evaluating the Efficiency Robustness of Large Vision-Language Models as a Service",
    "Wang et al.",
    "ACL",
    2025,
    "arXiv:2506.15755",
)
DECAY = 0.1
"""What each step before the last counts of the one after it, where the end token's probability is added up."""
UPDATES = 100
"""Steps by default, 1,100 queries."""
LIKELIEST = 100
"""Tokens whose probabilities are compared with equal ones."""


def slowness(signals: StepSignals) -> Tensor:
    """Return what the attack raises, ``[B]``: steps, no sign of the end near the end, and uncertainty.

    ``N - sum_t 0.1 ** (N - t) p_t(end) - mean_t KL(top-100 of p_t || uniform)``; what is left of the likeliest 100 is
    scaled to a sum of 1, which the released code does not do.
    """
    signals = replace(signals, logits=single(signals.logits))
    count = signals.mask.sum(1, keepdim=True)
    places = torch.arange(1, signals.mask.shape[1] + 1, device=signals.mask.device)
    decay = DECAY ** (count - places).clamp_min(0).to(signals.logits.dtype)
    ends = torch.where(signals.mask, decay * end_probability(signals), 0).sum(1)
    best = signals.logits.topk(min(LIKELIEST, signals.logits.shape[-1]), dim=-1).values.log_softmax(-1)
    chances = best.exp()
    certain = torch.where(chances > 0, chances * best, 0).sum(-1) + math.log(best.shape[-1])
    return count.squeeze(1) - ends - masked_mean(certain, signals)


@dataclass(frozen=True, kw_only=True)
class VLMInferSlow(Attack):
    """Climb :func:`slowness` along gradients estimated from pairs of queries at both sides of the current image.

    Each step draws ``pairs`` Gaussian directions, asks about the image moved along each and against it, and moves by a
    normalized step along what the differences add up to; every image asked about counts as a candidate. The paper's
    numbers of pairs and steps, its radii and the weights of the objective's terms are not known: these are torpor's.

    Attributes:
        steps: updates of the image, with ``2 pairs + 1`` queries each; :data:`UPDATES` if None.
        pairs: directions of each step.
    """

    id: ClassVar[str] = "vlminferslow"
    paper: ClassVar[Paper | None] = PAPER
    access: ClassVar[Access] = Access.SCORE
    reads: ClassVar[type | None] = StepSignals
    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2")
    radii: ClassVar[Mapping[str, float]] = {"Linf": 8 / 255, "L2": 2.0}

    eps: float = 8 / 255
    steps: int | None = None
    pairs: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.steps is not None and self.steps < 1) or self.pairs < 1:
            raise UsageError(f"expected 1 step and 1 pair or more, got {self.steps} and {self.pairs}")

    @property
    def updates(self) -> int:
        """Updates of the image."""
        return self.steps or UPDATES

    @property
    def queries(self) -> int:
        """Runs of the target at most."""
        return self.updates * (2 * self.pairs + 1)

    @override
    @torch.no_grad()
    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        space, ball = target.space, BALLS[self.norm]
        assert isinstance(space, DenseSpace)
        generators = sample_generators(inputs, seed, self.id)
        static = target.prices.cost(target.max_work(inputs)).to(inputs.device)
        best, delta = Incumbent.begin(inputs), torch.zeros_like(inputs)

        def ask(rows: Tensor, change: Tensor) -> Tensor:
            shown = apply(inputs[rows], change, ball, self.eps, space)
            signals = target.signals(shown)
            found = slowness(signals)
            best.offer(rows, shown, target.prices.cost(signals.work), -found, allowed=allowed(signals))
            return found.to(inputs)

        for _ in range(self.updates):
            rows = (best.cost < static).nonzero().flatten()
            if len(rows) == 0:
                break
            own, held = [generators[row] for row in rows.tolist()], delta[rows]
            slope = torch.zeros_like(held)
            for _ in range(self.pairs):
                way = draw(own, lambda g: torch.randn(inputs.shape[1:], generator=g), inputs)
                way = way * per_sample(self.eps / 2 / _size(way, self.norm), way)
                above, below = ask(rows, held + way), ask(rows, held - way)
                slope += per_sample(above - below, way) * way
            delta[rows] = ball.project(held + self.eps / 4 * ball.steepest(slope), self.eps)
            ask(rows, delta[rows])
        return Candidates(best.inputs, best.queries, best.backwards, curves=best.curves)


def _size(way: Tensor, norm: str) -> Tensor:
    """Return how long a direction is: its root mean square for Linf, else its Euclidean length, ``[B]``."""
    flat = way.flatten(1)
    return flat.square().mean(1).sqrt() if norm == "Linf" else flat.norm(dim=1)
