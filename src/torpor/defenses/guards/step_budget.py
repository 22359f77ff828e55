"""Step budgets: a decoder's output ends in good time, with what it has generated so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.work import Work
from torpor.defenses.guards.base import LearnedCap, rungs_below
from torpor.targets.base import Target
from torpor.targets.decoder.contract import STEP


@dataclass(frozen=True)
class StepBudget(LearnedCap):
    """Outputs end after a number of decoder steps, ``steps:40``; they are flagged as capped.

    Without a setting the budget is what 99.9 % of clean outputs do not exceed.

    Attributes:
        most: decoder steps at most; None to learn it.
        learned: what was learned.
    """

    id: ClassVar[str] = "steps"
    caps: ClassVar[tuple[str, ...]] = (STEP,)

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_cap", "iterations")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.with_cap(min(self.cap, target.cap))
        return guarded

    @override
    def needed(self, target: Any, inputs: Samples) -> list[int]:
        steps: list[int] = target.iterations(target.run(inputs).work).tolist()
        return steps

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(most) for most in rungs_below(target.cap))

    @override
    def replayed(self, target: Any, inputs: Samples, work: Work) -> Work | None:
        """See :meth:`Guard.replayed`; where several outputs are decoded at a time, only a run can tell."""
        if not (target.offers("known_work") and target.stoppable):
            return None
        found: Work | None = target.known_work(inputs, target.iterations(work).clamp_max(self.cap).tolist())
        return found
