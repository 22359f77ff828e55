"""A bound: interval arithmetic through a network that skips blocks (Gowal et al., ICCV 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torpor.bounds.base import Bound
from torpor.core.budget import Budget, whole_levels
from torpor.core.work import Work
from torpor.targets.base import Target

SLACK = 1e-9
"""Far more than rounding can do in float64; a gate that is closer to its threshold may do either."""


@dataclass(frozen=True)
class Intervals(Bound):
    """Interval arithmetic: a block counts unless its gate skips it for every input in the budget's box."""

    id: ClassVar[str] = "example-intervals"

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        return target.mechanism == "layer skipping" and target.offers("network")

    @torch.no_grad()
    def work(self, target: Any, inputs: Tensor, budget: Budget | None) -> Work:
        low, high = box(inputs.double(), budget)
        network = target.network
        low, high = through(network.stem, low, high)
        may_run = [torch.ones(len(inputs), dtype=torch.bool)]
        for block, gate in zip(network.blocks, network.gates, strict=True):
            least, most = through(gate, low.mean((2, 3)), high.mean((2, 3)))
            runs, skips = most.squeeze(1) < -SLACK, least.squeeze(1) >= SLACK
            more_low, more_high = (side.relu() for side in through(block, low, high))
            may, must = (mask.view(-1, 1, 1, 1) for mask in (~skips, runs))
            low, high = low + must * more_low, high + may * more_high  # what a ReLU adds is 0 or more
            may_run.append(~skips)
        return Work(torch.stack(may_run, 1).to(torch.int64))


def box(inputs: Tensor, budget: Budget | None) -> tuple[Tensor, Tensor]:
    """Return the least and the largest value of each pixel of 8-bit images within a budget."""
    if budget is None:
        return torch.zeros_like(inputs), torch.ones_like(inputs)
    # No pixel moves farther in L2 or L1 than the whole image may; Linf is rounded as attacks round it.
    radius = whole_levels(budget.eps, 255) / 255 if budget.norm == "Linf" else budget.eps
    radius *= 1 + SLACK
    return (inputs - radius).clamp_min(0), (inputs + radius).clamp_max(1)


def through(layer: nn.Conv2d | nn.Linear, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the interval of a layer's output, from that of its input: its middle goes through, its radius grows."""
    middle, radius = layer((low + high) / 2), (high - low) / 2
    size = layer.weight.abs()
    if isinstance(layer, nn.Conv2d):
        radius = nn.functional.conv2d(radius, size, padding=layer.padding)
    else:
        radius = nn.functional.linear(radius, size)
    return middle - radius, middle + radius
