"""Draft stop: a drafter whose guesses are rejected is not asked any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.defenses.guards.base import LearnedCap
from torpor.targets.base import Target


@dataclass(frozen=True)
class DraftStop(LearnedCap):
    """Stop guessing, for the rest of a text, once rejected guesses outnumber accepted ones by more than N.

    The output stays the same. Since each accepted guess buys one rejected one, an attacker who knows of it can waste no
    more than the allowance and as many guesses as are accepted, so that the static bound is lower too. Without a
    setting N is what 99.9 % of clean outputs do not exceed.

    Attributes:
        most: N, as in ``draft-stop:8``; None to learn it.
        learned: what was learned.
    """

    id: ClassVar[str] = "draft-stop"
    caps: ClassVar[tuple[str, ...]] = ("drafted_token",)

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 0:
            raise UsageError(f"expected 0 rejected guesses or more after {self.id}:, got {self.most}")

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_allowance", "most_wasted")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.with_allowance(self.cap)
        return guarded

    @override
    def needed(self, target: Any, inputs: Samples) -> list[int]:
        found: list[int] = target.most_wasted(inputs)
        return found

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(most) for most in (64, 32, 16, 8, 4, 2, 0))
