"""LingoLoop: images that trap vision-language models in loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.decoder.objectives import TINY, StepObjective, end_probability, masked_mean
from torpor.attacks.decoder.steps import StepAttack
from torpor.attacks.decoder.verbose_images import STEP_SIZE, Momentum
from torpor.attacks.iterative import amplify
from torpor.attacks.search.optimizers import Change, State
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals, single
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import StepTarget

PAPER = Paper(
    "LingoLoop Attack: Trapping MLLMs via Linguistic Context and State Entrapment into Endless Loops",
    "Fu et al.",
    "ICLR",
    2026,
    "arXiv:2506.14493",
)


@dataclass(frozen=True)
class Entrap(StepObjective):
    """Delay the end where it is likely to come, and keep hidden states small, so that the output repeats itself.

    ``mean_t w_t p_t(end) + l(k) mean_t |h_t|``, where ``w_t`` is how likely the end was on average after the token
    before ``t``, scaled to a mean of 1, and ``|h_t|`` the mean norm of a step's hidden states over layers. At iteration
    ``k`` the second term is ``growth ln(k + 1) + base`` times as large as the first, whatever its own factor is.

    Attributes:
        growth: of the weight of repetition.
        base: its weight at the first iteration.
    """

    growth: float = 0.5
    base: float = 1.0

    def __call__(self, signals: StepSignals, step: int, state: State) -> Tensor:
        """See :class:`StepObjective`.

        Raises:
            UsageError: if the target shows no hidden states.
        """
        ends = masked_mean(self.weights(signals, state) * end_probability(signals), signals)
        small = masked_mean(state_norms(signals), signals)
        share = ends.detach().abs() / small.detach().abs().clamp_min(TINY)
        return ends + share * (self.growth * math.log(step + 1) + self.base) * small

    def weights(self, signals: StepSignals, state: State) -> Tensor:
        """Return the weight of each step ``[B, T]``, from all that was seen of a sample so far, this time included."""
        count, size = len(signals.ids), signals.logits.shape[-1] + 1
        before = signals.ids.roll(1, 1)
        before[:, 0] = size - 1  # nothing was said before the first step
        seen = signals.mask.to(torch.float32)
        likely = torch.where(signals.mask, end_probability(signals).detach(), 0).to(seen)
        for name, values in (("ends", likely), ("times", seen)):
            state[name] = state.get(name, seen.new_zeros(count, size)).scatter_add(1, before, values)
        mean = state["ends"].gather(1, before) / state["times"].gather(1, before).clamp_min(1)
        return mean / masked_mean(mean, signals).clamp_min(TINY).unsqueeze(1)

    def rank(self, signals: StepSignals, loss: Tensor) -> Tensor:
        """Return the mean probability of the end token: weights differ between iterations."""
        return masked_mean(end_probability(signals), signals).detach()


def state_norms(signals: StepSignals) -> Tensor:
    """Return the norm of each step's hidden states ``[B, T]``: the mean over layers, or that of the last one.

    Raises:
        UsageError: if the target shows no hidden states.
    """
    if signals.norms is not None:
        return signals.norms
    if signals.hidden is None:
        raise UsageError("expected a decoder that shows its hidden states, got signals without; use another attack")
    return (single(signals.hidden).square().sum(-1) + TINY).sqrt()


@dataclass(frozen=True, kw_only=True)
class LingoLoop(StepAttack):
    """Delay the end by linguistic context, and pull hidden states together: signed steps with momentum, 300 of them.

    Linf 8/255 from a uniform start. The paper weighs steps by the part of speech of the token before, from a pool of
    outputs collected beforehand; this needs neither a tagger nor a pool: steps are weighed by that token itself, from
    the outputs that the sample's own search has seen. Step size and schedule are not known from the paper: they are
    those of Verbose Images, and :class:`Entrap`'s.
    """

    id: ClassVar[str] = "lingoloop"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 300
    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2")
    radii: ClassVar[Mapping[str, float]] = {"Linf": 8 / 255, "L2": 2.0}

    eps: float = 8 / 255

    @override
    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        return amplify(
            target,
            inputs,
            objective=Entrap(),
            ball=self.ball,
            eps=self.eps,
            optimizer=Momentum(self.eps * max(STEP_SIZE, 2 / self.iterations)),
            steps=self.iterations,
            variable=Change(),
            start=self.ball.random(sample_generators(inputs, seed, self.id), self.eps, inputs),
        )
