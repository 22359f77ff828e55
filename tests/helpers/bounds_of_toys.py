"""Bounds of the toy targets: one that is exact, and wrong ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.bounds.base import Bound
from torpor.core.budget import Budget
from torpor.core.work import Work
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import WindowTarget


@dataclass(frozen=True)
class Windows(Bound):
    """The worst case of a window target in closed form; ``more`` units on top for bright images."""

    id: ClassVar[str] = "windows"

    more: int = 0

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        return target.offers("worst_depth")

    def work(self, target: WindowTarget, inputs: Tensor, budget: Budget | None) -> Work:
        assert budget is not None
        depth = target.worst_depth(inputs, budget.eps) + self.more * (inputs.mean((1, 2, 3)) > 0.5)
        return Work((torch.arange(len(target.units)) < depth.unsqueeze(1)).to(torch.int64))


class Wrong(Windows):
    """Nothing but the first exit, whatever the input."""

    id: ClassVar[str] = "wrong"

    def work(self, target: WindowTarget, inputs: Tensor, budget: Budget | None) -> Work:
        return Work((torch.arange(len(target.units)) < 1).to(torch.int64).expand(len(inputs), -1))


class Narrow(Wrong):
    """Exact within a radius of 0.1, and too little beyond it."""

    id: ClassVar[str] = "narrow"

    @override
    def work(self, target: WindowTarget, inputs: Tensor, budget: Budget | None) -> Work:
        assert budget is not None
        return Windows.work(self, target, inputs, budget) if budget.eps <= 0.1 else super().work(target, inputs, budget)
