"""Density caps: a layer reads no more than a share of its activations, the largest ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.defenses.guards.base import Cap, benign_most, chunks, known
from torpor.targets.base import Target

WHOLE = 100


@dataclass(frozen=True)
class DensityCap(Cap):
    """Each layer reads at most so many per cent of its activations, ``density:60``; smaller ones become zero.

    Without a setting the cap is the least that leaves every layer of 99.9 % of clean samples as it is. Pixels are no
    activations: the first layer reads all of them.

    Attributes:
        most: per cent; None to learn it.
        learned: what was learned.
    """

    id: ClassVar[str] = "density"

    learned: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most is not None and self.most > WHOLE:
            raise UsageError(f"expected 1 to 100 per cent after {self.id}:, got {self.most}")

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return ("learned",) if self.most is None else ()

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_density", "layer_densities")

    @override
    def bounded(self, target: Any) -> Target:
        share = known(self.learned if self.most is None else self.most, self.name) / WHOLE
        guarded: Target = target.with_density(min(share, target.share))
        return guarded

    @override
    def fit(self, target: Any, inputs: Samples) -> Self:
        if self.most is not None:
            return self
        densest: list[float] = []
        for some in chunks(inputs):
            densest += target.layer_densities(target.run(some).work).amax(1).tolist()
        return replace(self, learned=max(1, math.ceil(WHOLE * benign_most(densest))))
