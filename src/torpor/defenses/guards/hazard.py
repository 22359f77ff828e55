"""Hazard monitor: an output ends where, by the end token's probabilities, it should have ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.defenses.guards.base import FIT_LIMIT, benign_most, chunks
from torpor.defenses.guards.loop_stop import LoopStop
from torpor.defenses.guards.step_budget import StepBudget
from torpor.targets.base import Target
from torpor.targets.decoder.stops import EndHazard, cumulative_hazard, end_probability

ROOM = 2.0
"""How many times what clean outputs reach the threshold is, at least."""
LEAST = 1e-6
"""Least threshold, for decoders whose clean outputs are surer than floating point can express."""


@dataclass(frozen=True)
class HazardMonitor(StepBudget):
    """A step budget, and an output ends sooner if its end token was likely for longer than in clean outputs.

    Decoders that were trained to end are sure at every step whether they do. An attack that leaves doubt is cut; one
    that makes the end token unlikely enough at every step is not, and meets the budget.

    Attributes:
        most: decoder steps at most, as in ``hazard:40``; None to learn it.
        learned: what was learned.
        threshold: cumulative hazard that ends an output: twice what 99.9 % of clean outputs reach before their end, or
            as much more as fewer samples than 1000 may have missed of a heavy tail, ``1 / hazard``.
    """

    id: ClassVar[str] = "hazard"

    threshold: float | None = None

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return (*super().needs, "threshold")

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        """See :meth:`Defense.applies_to`; beam search cannot be stopped."""
        return LoopStop.applies_to(target)

    @override
    def bounded(self, target: Any) -> Target:
        if self.threshold is None:
            raise self.not_fitted()
        guarded: Any = super().bounded(target)
        stopped: Target = guarded.with_stop(EndHazard(self.threshold))
        return stopped

    @torch.no_grad()
    @override
    def fit(self, target: Any, inputs: Samples) -> Self:
        steps, reached = list[int](), list[float]()
        for some in chunks(inputs):
            found = target.signals(some)
            steps += target.iterations(found.work).tolist()
            reached += _reached(found)
        room = max(ROOM, FIT_LIMIT / len(reached))
        return replace(self.learn(target, steps), threshold=max(room * benign_most(reached), LEAST))

    @override
    def replayed(self, target: Any, inputs: Samples, work: Work) -> None:
        """See :meth:`Guard.replayed`; it takes the probabilities to tell."""


def _reached(found: StepSignals) -> list[float]:
    """Return the cumulative hazard of each output before its end token."""
    ended = torch.isin(found.ids, torch.tensor(found.eos, device=found.ids.device))
    ends = end_probability(found.logits, found.eos).masked_fill(ended | ~found.mask, 0)
    return cumulative_hazard(ends)[:, -1].tolist()
