"""Loop stop: an output that goes in circles ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.work import Work
from torpor.defenses.guards.base import benign_most, chunks, known
from torpor.defenses.guards.step_budget import StepBudget
from torpor.targets.base import Target
from torpor.targets.decoder.stops import Repetition, most_repeats

LEAST = 3
"""Rounds of a cycle that end an output at least, however little clean outputs repeat themselves."""


@dataclass(frozen=True)
class LoopStop(StepBudget):
    """A step budget, and an output ends sooner if it repeats itself more often than clean outputs do.

    Tokens cost nothing to compare, but only the budget is a bound: an output that repeats nothing is not stopped.

    Attributes:
        most: decoder steps at most, as in ``loop-stop:40``; None to learn it.
        learned: what was learned.
        repeats: rounds of a cycle that end an output; one more than clean outputs make.
    """

    id: ClassVar[str] = "loop-stop"

    repeats: int | None = None

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return (*super().needs, "repeats")

    @classmethod
    def applies_to(cls, target: Any) -> bool:  # noqa: ANN401
        """See :meth:`Defense.applies_to`; beam search cannot be stopped."""
        return super().applies_to(target) and target.offers("with_stop") and bool(target.stoppable)

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Any = super().bounded(target)
        stopped: Target = guarded.with_stop(Repetition(known(self.repeats, self.name)))
        return stopped

    @override
    def fit(self, target: Any, inputs: Samples) -> Self:
        clean = [target.run(some) for some in chunks(inputs)]
        repeats = [most_repeats(output.ids) for outcome in clean for output in outcome.outputs]
        steps = [count for outcome in clean for count in target.iterations(outcome.work).tolist()]
        return replace(self.learn(target, steps), repeats=max(LEAST, 1 + int(benign_most(repeats))))

    @override
    def replayed(self, target: Any, inputs: Samples, work: Work) -> None:
        """See :meth:`Guard.replayed`; it takes the tokens to tell."""
