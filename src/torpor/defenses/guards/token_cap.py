"""Token caps: a vision transformer computes no more patches per layer than clean images need on average."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.threat import Paper
from torpor.defenses.guards.base import Cap, chunks, known, rungs_below
from torpor.targets.base import Target


@dataclass(frozen=True)
class TokenCap(Cap):
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

    learned: int | None = None

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return ("learned",) if self.most is None else ()

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("keeping", "patches", "tokens", "token_count")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.keeping(known(self.learned if self.most is None else self.most, self.name))
        return guarded

    @override
    def fit(self, target: Any, inputs: Samples) -> Self:
        if self.most is not None:
            return self
        ran = [count for some in chunks(inputs) for count in target.tokens(target.run(some).work).tolist()]
        later = sum(ran) / len(ran) - target.patches  # the first layer computes all of them
        return replace(self, learned=max(1, round(later / (target.token_count / target.patches - 1))))

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(most) for most in rungs_below(target.patches))
