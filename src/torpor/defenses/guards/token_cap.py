"""Token caps: a vision transformer computes no more patches per layer than clean images need on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.threat import Paper
from torpor.defenses.guards.base import LearnedCap, rungs_below
from torpor.targets.base import Target


@dataclass(frozen=True)
class TokenCap(LearnedCap):
    """Layers after the first compute at most N patches, ``tokens:40``, those that the mechanism ranks first.

    Without a setting, N is the mean of what clean images of the validation split need per layer, so that about half of
    them lose patches. The paper has a mean for each layer; here one cap holds for all.

    Attributes:
        most: patches at most; None to learn it.
        learned: what was learned.
    """

    id: ClassVar[str] = "tokens"
    paper: ClassVar[Paper | None] = Paper(
        "DeSparsify: Adversarial Attack Against Token Sparsification Mechanisms in Vision Transformers",
        "Yehezkel et al.",
        "NeurIPS",
        2024,
        "arXiv:2402.02554",
    )
    caps: ClassVar[tuple[str, ...]] = ("patches",)

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("keeping", "patches", "tokens", "token_count")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.keeping(self.cap)
        return guarded

    @override
    def needed(self, target: Any, inputs: Samples) -> list[int]:
        """Return the tokens that ran, over all layers: what clean images need on average is enough."""
        ran: list[int] = target.tokens(target.run(inputs).work).tolist()
        return ran

    @override
    def learn(self, target: Any, needed: Sequence[int]) -> Self:
        later = sum(needed) / len(needed) - target.patches  # the first layer computes all of them
        return replace(self, learned=max(1, round(later / (target.token_count / target.patches - 1))))

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(most) for most in rungs_below(target.patches))
