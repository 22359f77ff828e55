"""Patches: one rectangle of an image whose pixels are free, and nothing outside of it changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.search.balls import Linf
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.patches import PLACES, sides, window
from torpor.core.space import DenseSpace


@dataclass(frozen=True)
class Patch(Linf):
    """All changes of one rectangle of an image ``[B, C, H, W]``, by any number of levels.

    Norms are in units of the share of the area, so that steps and radii scale as those of other balls do: a change of
    a pixel from black to white has norm ``share``, the radius of the budget, and one outside of the patch is infinite.

    Attributes:
        share: of the area that the patch covers at most.
        place: which share of the rows and columns that it leaves is above and left of it.

    >>> Patch(0.25).project(torch.tensor([[[[2.0, 0.1], [0.1, 0.1]]]]), 0.25)
    tensor([[[[1., 0.],
              [0., 0.]]]])
    """

    share: float
    place: float = 0.0

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns that it covers."""
        return window(self.share, self.place, height, width)

    @override
    def free(self, delta: Tensor) -> Tensor:
        rows, columns = self.window(*delta.shape[-2:])
        return delta[..., rows, columns]

    def only(self, delta: Tensor) -> Tensor:
        """Return perturbations with zeros outside of the patch."""
        kept = torch.zeros_like(delta)
        self.free(kept).copy_(self.free(delta))
        return kept

    @override
    def common(self, values: Tensor, clean: Tensor) -> Tensor:
        """Return the change to what ``values`` show, from -1 for black to 1 for white, whatever it covers."""
        return self.only((values + 1) / 2 - clean)

    @override
    def norm(self, delta: Tensor) -> Tensor:
        outside = (delta != self.only(delta)).flatten(1).any(1)
        return torch.where(outside, torch.inf, self.share * super().norm(self.free(delta)))

    @override
    def project(self, delta: Tensor, radius: float) -> Tensor:
        return self.only(super().project(delta, radius / self.share))

    @override
    def steepest(self, gradient: Tensor) -> Tensor:
        return self.only(super().steepest(gradient)) / self.share

    @override
    def random(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        return self.only(super().random(generators, radius / self.share, like))

    @override
    def even(self, radius: float, like: Tensor) -> float:
        return radius / self.share

    @override
    def spent(self, generators: list[torch.Generator], radius: float, like: Tensor) -> Tensor:
        return self.only(super().spent(generators, radius / self.share, like))

    @override
    def spendable(self, radius: float, levels: int) -> float:
        return radius

    @override
    def snap(self, delta: Tensor, radius: float, levels: int) -> Tensor:
        return (self.project(delta, radius) * levels).round_().div_(levels)

    @override
    def used(self, delta: Tensor, radius: float, levels: int) -> Tensor:
        """Return the share of the patch's pixels that changed, ``[B]``."""
        return (self.free(delta) != 0).any(1).flatten(1).to(delta.dtype).mean(1)

    @override
    def reach(self, radius: float, space: DenseSpace) -> float:
        """Return the share of the area that whole pixels cover."""
        height, width = space.shape[-2:]
        return math.prod(sides(radius, height, width)) / (height * width)

    @override
    def check(self, radius: float, space: DenseSpace) -> None:
        if self.reach(radius, space) == 0:
            height, width = space.shape[-2:]
            raise UsageError(
                f"expected a patch of at least one pixel, 1/{height * width} of the area, got {radius:g}; raise --eps"
            )


def patch_of(budget: Budget) -> Patch:
    """Return the ball of a budget that is a patch."""
    return Patch(budget.eps, PLACES[budget.norm])
