"""Sentences of the attacker's own: they take a certain room, which not every target or budget has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import override

from torpor.attacks.base import Attack
from torpor.attacks.text.search.constraints import Sendable
from torpor.core.errors import UsageError
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class Worded(Attack):
    """Base of attacks whose wording has a least length; targets and budgets without that room are refused.

    Attributes:
        shortest: the shortest of what it writes, without anything of the clean text.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    norms: ClassVar[tuple[str, ...]] = ("prompt",)
    radii: ClassVar[Mapping[str, float]] = {}
    shortest: ClassVar[str]

    norm: str = "prompt"

    @classmethod
    def least(cls, target: Any) -> int:  # noqa: ANN401 - one that reads text
        """Return how many tokens the shortest text has on a target."""
        return len(target.space.codec.encode(cls.shortest))

    @classmethod
    @override
    def applies_to(cls, target: Any) -> bool:  # one that reads text, or anything else
        return super().applies_to(target) and cls.least(target) <= target.space.max_tokens

    @override
    def check(self, target: Target) -> None:
        space: Any = target.space
        if space.kind in self.kinds and self.least(target) > space.max_tokens:
            raise UsageError(
                f"expected a target that reads {self.least(target)} tokens or more for {self.id}, whose shortest text "
                f"has so many, got {target.name}, which reads {space.max_tokens}; take another attack"
            )
        super().check(target)
        if self.least(target) > self.eps:
            raise UsageError(
                f"expected eps of {self.least(target)} tokens or more for {self.id} on {target.name}, whose shortest "
                f"text has so many, got {self.eps:g}; raise --eps"
            )


def as_many(fits: Sendable, clean: str, write: Callable[[int], str], most: int) -> str | None:
    """Return the text with the most of something that may still be sent; None if not even one of it may.

    Args:
        fits: what may be sent.
        clean: text.
        write: from how many to a text, which is longer for more.
        most: how many at most.

    >>> from torpor.core.budget import Budget
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> as_many(Sendable(ToyText().space, Budget("prompt", 5)), "a cat", lambda count: "b" * count, 100)
    'bbbbb'
    """
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        if fits(clean, write(middle)):
            low = middle
        else:
            most = middle - 1
    return write(low) if low else None


def requested(fits: Sendable, text: str, request: str) -> str:
    """Return the longest beginning of a request that fits the budget, after the text or alone; the text if none does.

    >>> from torpor.core.budget import Budget
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> requested(Sendable(ToyText().space, Budget("suffix", 8)), "a cat", "Go on and on.")
    'a cat Go on'
    """
    words = request.split()
    for count in range(len(words), 0, -1):
        asked = " ".join(words[:count])
        new = f"{text} {asked}" if fits.budget.norm == "suffix" else asked
        if fits(text, new):
            return new
    return text
