"""The contract of targets whose gates stop computing on an image: early exit and its kin."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.work import Work
from torpor.targets.base import Target
from torpor.targets.gate_family import GateFamily


class GateTarget(Target):
    """A target of images whose gates decide how much is computed."""

    family = GateFamily()
    space: ImageSpace

    @abstractmethod
    def signals(self, inputs: Tensor) -> GateSignals:
        """Evaluate every gate, differentiably."""

    def exits(self, work: Work) -> Tensor:
        """Return the last unit that ran for each sample, int64 ``[B]``; 0 where none did, since it was refused."""
        return ((work.counts > 0).sum(1) - 1).clamp_min(0)

    @property
    def exit_costs(self) -> Tensor:
        """Cumulative FLOPs at each exit as a share of the whole network's, float64 ``[K]``, ending in 1."""
        flops = torch.tensor([unit.flops for unit in self.units], dtype=torch.float64).cumsum(0)
        return flops / flops[-1] if flops[-1] > 0 else torch.full_like(flops, math.nan)
