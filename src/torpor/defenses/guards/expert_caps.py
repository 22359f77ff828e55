"""Guards of mixtures of experts: full experts drop tokens, or busy devices hand them on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.defenses.guards.base import Cap, LearnedCap, known
from torpor.targets.base import Target

EVEN = 100
"""Per cent of an even share that is an even share."""
STEPS = (400, 300, 250, 200, 175, 150, 125, 110, 100)


@dataclass(frozen=True)
class ExpertCapacity(LearnedCap):
    """An expert takes at most N per cent of an even share of a layer's tokens, ``expert-capacity:150``.

    Tokens that find it full go on without it, as in Switch Transformers, so outputs change. The busiest device then
    has no more than that of each of its experts.
    """

    id: ClassVar[str] = "expert-capacity"
    paper: ClassVar[Paper | None] = Paper(
        "Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity",
        "Fedus et al.",
        "JMLR",
        2022,
        "arXiv:2101.03961",
    )
    caps: ClassVar[tuple[str, ...]] = ("busiest",)

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_capacity", "shares", "placement")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.with_capacity(self.cap)
        return guarded

    @override
    def needed(self, target: Any, inputs: Samples) -> list[int]:
        found: list[int] = target.shares(inputs)[0]
        return found

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        placement = target.placement
        most = EVEN * placement.experts // placement.chosen
        return tuple(cls(percent) for percent in STEPS if percent < most)


@dataclass(frozen=True)
class Rebalance(LearnedCap):
    """A device computes at most N per cent of an even share of a layer, ``rebalance:125``; others compute the rest.

    As least-loaded expert parallelism does (LLEP, ICML 2026, known from its abstract): experts' weights
    are sent to devices with less to do, so outputs stay the same. How many assignments moved is counted as ``moved``;
    the bytes of the weights that this sends are not part of the cost, which is in FLOPs.
    """

    id: ClassVar[str] = "rebalance"
    paper: ClassVar[Paper | None] = Paper("LLEP", "", "ICML", 2026, "arXiv:2601.17111")
    caps: ClassVar[tuple[str, ...]] = ("busiest",)

    def __post_init__(self) -> None:
        if self.most is not None and self.most < EVEN:
            raise UsageError(
                f"expected {EVEN} % of an even share or more after {self.id}:, got {self.most}; such as {self.id}:125"
            )

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_spread", "shares", "placement")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.with_spread(self.cap)
        return guarded

    @override
    def needed(self, target: Any, inputs: Samples) -> list[int]:
        found: list[int] = target.shares(inputs)[1]
        return found

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        most = EVEN * target.placement.most_imbalance
        return tuple(cls(percent) for percent in STEPS if percent < most)


@dataclass(frozen=True)
class ExpertSlack(Cap):
    """Experts that a batch shares take at least N per cent of an even share, ``expert-slack:300``.

    The larger the buffers, the less an input can take from others; with room for all tokens at every expert it takes
    nothing, and buffers of that size are what it costs. Without a setting N is 200.
    """

    id: ClassVar[str] = "expert-slack"
    paper: ClassVar[Paper | None] = Paper(
        "Buffer Overflow in Mixture of Experts", "Hayes et al.", "arXiv", 2024, "arXiv:2402.05526"
    )
    caps: ClassVar[tuple[str, ...]] = ("neighbor_drop",)
    learns: ClassVar[bool] = False

    most: int | None = 200

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_slack", "placement")

    @override
    def bounded(self, target: Any) -> Target:
        guarded: Target = target.with_slack(known(self.most, self.name))
        return guarded

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        placement = target.placement
        most = EVEN * placement.experts // placement.chosen
        return tuple(cls(percent) for percent in range(EVEN, most + 1, EVEN // 2) if percent > placement.capacity)
