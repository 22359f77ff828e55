"""A target that iterates until an end token and whose worst case is known in closed form: ground truth for attacks.

It looks only at the mean value ``s`` of its input. Before step ``t`` (from 1) the end token scores
``gain * (t - 1/2 - peak + slope * |s - center|)`` and the best word scores 0, so gradients are honest, and it says
``peak + 1/2 - slope * |s - center|`` tokens, rounded up. The means that a budget reaches form an interval, so the
worst case is the mean in it that is nearest to ``center``: some inputs must become brighter, others darker.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.budget import whole_levels
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.space import DenseSpace, ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Generation, Outcome, Work
from torpor.targets.decoder.contract import STEP, StepTarget
from torpor.targets.decoder.stops import end_probability

END = 0
WORDS = ("tick", "tock", "tack")


class PeakTarget(StepTarget):
    """A decoder that talks the longest about inputs whose mean is ``center``.

    Args:
        center: mean of the longest output.
        peak: about how many tokens it generates there.
        slope: tokens fewer per unit of distance from ``center``.
        cap: tokens at most.
        gain: how sharply the end token's score rises with each step.
        space: of its inputs; gray images of 4 x 4 pixels if None.
        name: shown in reports.

    >>> target = PeakTarget(peak=10.2, slope=20)
    >>> target.run(torch.tensor([0.5, 0.7]).view(2, 1, 1, 1).expand(2, 1, 4, 4)).work.counts.tolist()
    [[1, 11], [1, 7]]
    """

    mechanism = "decoding until an end token"
    stoppable = True
    space: DenseSpace

    def __init__(
        self,
        *,
        center: float = 0.5,
        peak: float = 30.2,
        slope: float = 60.0,
        cap: int = 40,
        gain: float = 1.0,
        space: DenseSpace | None = None,
        name: str = "toy-peak",
    ) -> None:
        if cap < 1 or not (slope > 0 and gain > 0):
            raise UsageError(f"expected a cap of 1 or more and positive slopes, got {cap}, {slope:g} and {gain:g}")
        self.center, self.peak, self.slope, self.gain = center, peak, slope, gain
        self.cap, self.eos, self.name = cap, (END,), name
        self.space = ImageSpace((1, 4, 4)) if space is None else space
        self.device = torch.device("cpu")
        self.units = (Unit("encoder", math.prod(self.space.shape)), Unit(STEP, 2 * (1 + len(WORDS))))

    def _scores(self, inputs: Tensor) -> Tensor:
        """Return the end token's scores ``[B, cap]`` in float64, so that no rounding blurs the closed form."""
        away = (inputs.flatten(1).to(torch.float64).mean(1) - self.center).abs()
        steps = torch.arange(1, self.cap + 1, dtype=torch.float64)
        return self.gain * (steps - 0.5 - self.peak + self.slope * away.unsqueeze(1))

    def _tokens(self, ends: Tensor) -> Tensor:
        """Return the token of every step, int64 ``[B, cap]``: words in turn, the end token where it scores best."""
        words = 1 + torch.arange(self.cap) % len(WORDS)
        return torch.where(ends > 0, END, words)

    @torch.no_grad()
    @override
    def run(self, inputs: Tensor) -> Outcome:
        ends = self._scores(self.space.check(inputs))
        ids = self._tokens(ends)
        steps = self._steps(self._logits(ends), ids)
        outputs = []
        for tokens, count in zip(ids.tolist(), steps.tolist(), strict=True):
            said = " ".join(WORDS[token - 1] for token in tokens[:count] if token != END)
            outputs.append(Generation(tuple(tokens[:count]), said, tokens[count - 1] != END))
        return Outcome(tuple(outputs), self._work(steps))

    def _logits(self, ends: Tensor) -> Tensor:
        """Return the scores of all tokens ``[B, cap, V]``; the words that do not come next score -1."""
        steps = torch.arange(self.cap)
        words = torch.full((self.cap, len(WORDS)), -1.0, dtype=torch.float64)
        words[steps, steps % len(WORDS)] = 0.0
        return torch.cat([ends.unsqueeze(-1), words.expand(len(ends), -1, -1)], -1)

    def _steps(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Return how many steps each row runs, int64 ``[B]``."""
        ended = ids == END
        if self.stop is not None:
            likely = end_probability(logits.detach(), self.eos)
            past = [self.stop.margin(ids[:, :step], likely[:, :step]) for step in range(1, self.cap + 1)]
            ended = ended | (torch.stack(past, 1) >= 0)
        return (ended.cumsum(1) == 0).sum(1).add(1).clamp_max(self.cap)

    def signals(self, inputs: Tensor) -> StepSignals:
        """See :meth:`StepTarget.signals`; the hidden state is (score, 1)."""
        ends = self._scores(self.space.check(inputs))
        ids, logits = self._tokens(ends.detach()), self._logits(ends)
        steps = self._steps(logits, ids)
        return StepSignals(
            logits=logits.to(torch.float32),
            ids=ids,
            mask=torch.arange(self.cap) < steps.unsqueeze(1),
            eos=self.eos,
            work=self._work(steps),
            hidden=torch.stack([ends, torch.ones_like(ends)], -1).to(torch.float32),
        )

    def _work(self, steps: Tensor) -> Work:
        return Work(torch.stack([torch.ones_like(steps), steps], 1))

    def worst_steps(self, inputs: Tensor, eps: float) -> Tensor:
        """Return the steps of the costliest input within Linf ``eps``, int64 ``[B]``, up to one level of one value."""
        space = self.space
        levels = (inputs.flatten(1).to(torch.float64) * space.levels).round()
        whole = whole_levels(eps, space.levels)
        low = (levels - whole).clamp_min(round(space.low * space.levels)).mean(1) / space.levels
        high = (levels + whole).clamp_max(round(space.high * space.levels)).mean(1) / space.levels
        away = torch.maximum(low - self.center, self.center - high).clamp_min(0)
        return (self.peak + 0.5 - self.slope * away).floor().to(torch.int64).add(1).clamp(1, self.cap)

    def max_work(self, inputs: Tensor) -> Work:
        """Return ``cap`` steps."""
        return self._work(torch.full((len(inputs),), self.cap))

    @override
    def with_cap(self, cap: int) -> Self:
        other = copy.copy(self)
        other.cap = cap
        return other

    def utility(self, outputs: Sequence[Generation], references: Sequence[str]) -> Tensor:
        """Return NaN: a toy is good for nothing."""
        return torch.full((len(outputs),), math.nan, dtype=torch.float64)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield an input of the least and one of the most work."""
        for mean in (self.center, self.space.low, self.space.high):
            flat = self.space.snap(torch.full_like(inputs, mean))
            yield self.run(flat).work, lambda flat=flat: self.run(flat)  # type: ignore[misc]

    def to(self, device: torch.device) -> Self:
        """Stay where it is: a toy runs on the CPU."""
        return self
