"""Density caps: a layer reads no more than a share of its activations, the largest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.defenses.guards.base import Cap, benign_most, chunks, known
from torpor.targets.base import Target

WHOLE = 100
STRIDE = 5
"""Per cent between two settings of a ladder."""


@dataclass(frozen=True)
class DensityCap(Cap):
    """Each layer reads at most so many per cent of its activations, ``density:60``; smaller ones become zero.

    Without a setting each layer has a cap of its own, the least that leaves 99.9 % of clean samples as they are. Pixels
    are no activations: the first layer reads all of them.

    Attributes:
        most: per cent; None to learn it.
        learned: shares of the layers, as learned.
    """

    id: ClassVar[str] = "density"

    learned: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most is not None and self.most > WHOLE:
            raise UsageError(f"expected 1 to 100 per cent after {self.id}:, got {self.most}")

    @property
    @override
    def needs(self) -> tuple[str, ...]:
        return ("learned",) if self.most is None else ()

    @override
    def state(self) -> Mapping[str, Tensor]:
        if self.unset:
            raise self.not_fitted()
        return {} if self.learned is None else {"learned": torch.tensor(self.learned, dtype=torch.float64)}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        self._check_state(state, self.needs)
        return replace(self, learned=tuple(state["learned"].tolist())) if state else self

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.offers("with_density", "layer_densities")

    @override
    def bounded(self, target: Any) -> Target:
        if self.unset:
            raise self.not_fitted()
        before = target.shares[1:]
        shares = [known(self.most, self.name) / WHOLE] * len(before) if self.learned is None else self.learned
        guarded: Target = target.with_density([min(pair) for pair in zip(shares, before, strict=True)])
        return guarded

    @override
    def fit(self, target: Any, inputs: Samples) -> Self:
        if self.most is not None:
            return self
        found = torch.cat([target.layer_densities(target.run(some).work) for some in chunks(inputs)])
        return replace(self, learned=tuple(max(benign_most(each), 1e-9) for each in found.T.numpy()))

    @classmethod
    @override
    def ladder(cls, target: Any) -> tuple[Self, ...]:
        return tuple(cls(share) for share in range(WHOLE - STRIDE, 0, -STRIDE))
