"""Step budgets: a decoder's output ends in good time, with what it has generated so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.work import Outcome, Work
from torpor.defenses.guards.base import Cap, benign_most, chunks, known, rungs_below
from torpor.targets.base import Target
from torpor.targets.decoder.contract import STEP


@dataclass(frozen=True)
class StepBudget(Cap):
    """Outputs end after a number of decoder steps, ``steps:40``; they are flagged as capped.

    Without a setting the budget is what 99.9 % of clean outputs do not exceed.

    Attributes:
        most: decoder steps at most; None to learn it.
        learned: what was learned.
    """

    id: ClassVar[str] = "steps"
    caps: ClassVar[tuple[str, ...]] = (STEP,)

    learned: int | None = None

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return ("learned",) if self.most is None else ()

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_cap", "iterations")

    @override
    def bounded(self, target: Any) -> Target:
        most = known(self.learned if self.most is None else self.most, self.name)
        guarded: Target = target.with_cap(min(most, target.cap))
        return guarded

    @override
    def fit(self, target: Any, inputs: Samples) -> Self:
        return self.learn(target, [target.run(some) for some in chunks(inputs)]) if self.most is None else self

    def learn(self, target: Any, clean: list[Outcome]) -> Self:  # noqa: ANN401
        """Return the guard with a budget that fits these runs."""
        steps = [count for outcome in clean for count in target.iterations(outcome.work).tolist()]
        return replace(self, learned=int(benign_most(steps)))

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(most) for most in rungs_below(target.cap))

    @override
    def replayed(self, target: Any, inputs: Samples, work: Work) -> Work | None:
        """See :meth:`Guard.replayed`; where several outputs are decoded at a time, only a run can tell."""
        if not (target.offers("known_work") and target.stoppable):
            return None
        most = known(self.learned if self.most is None else self.most, self.name)
        found: Work | None = target.known_work(inputs, target.iterations(work).clamp_max(most).tolist())
        return found
