"""How loaded devices are by the experts on them: makespan, its theoretical maximum, and what guards change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.errors import UsageError

PERCENT = 100


@dataclass(frozen=True)
class Placement:
    """Experts on devices, as many on each, in their order, and what is done about uneven loads.

    Attributes:
        experts: of each layer.
        chosen: experts of each token, the k of top-k.
        devices: that the experts of each layer lie on.
        capacity: tokens that an expert takes of each layer's, in per cent of an even share; the rest is dropped. None
            for no limit.
        spread: assignments that a device computes, in per cent of an even share; the rest moves to devices with less.
            None where nothing moves.

    Raises:
        UsageError: if the experts cannot be shared out evenly, or a per cent is too small.

    >>> Placement(8, 2, 8).most_imbalance, Placement(8, 2, 4).most_imbalance, Placement(128, 8, 32).most_imbalance
    (4.0, 4.0, 16.0)
    """

    experts: int
    chosen: int
    devices: int
    capacity: int | None = None
    spread: int | None = None

    def __post_init__(self) -> None:
        if self.devices < 1 or self.experts % self.devices:
            raise UsageError(
                f"expected a number of devices that divides the {self.experts} experts, got {self.devices}; such as "
                f"{self.experts}"
            )
        if self.capacity is not None and self.capacity < 1:
            raise UsageError(f"expected a capacity of 1 % of an even share or more, got {self.capacity}")
        if self.spread is not None and self.spread < PERCENT:
            raise UsageError(f"expected to spread at {PERCENT} % of an even share or more, got {self.spread}")

    @property
    def per_device(self) -> int:
        """Experts of a layer on each device."""
        return self.experts // self.devices

    @property
    def most_imbalance(self) -> float:
        """The theoretical maximum of the busiest device's load over the mean: ``min(k, E_d) / (k / D)``.

        RepetitionCurse's TMI: all tokens choose the same k experts, as many of which as fit lie on one device.
        """
        return min(self.chosen, self.per_device) * self.devices / self.chosen

    def room(self, tokens: Tensor) -> Tensor:
        """Return how many of ``tokens`` an expert takes, int64 of the same shape: all, or its capacity.

        >>> Placement(8, 2, 8, capacity=100).room(torch.tensor([16, 17, 1])).tolist()
        [4, 5, 1]
        """
        if self.capacity is None:
            return tokens
        share = -(-tokens * self.chosen * self.capacity // (self.experts * PERCENT))
        return torch.minimum(share, tokens)

    def by_device(self, loads: Tensor) -> Tensor:
        """Return assignments per device ``[..., D]`` from those per expert ``[..., E]``."""
        devices: Tensor = loads.unflatten(-1, (self.devices, self.per_device))
        return devices.sum(-1)

    def allowed(self, assigned: Tensor) -> Tensor:
        """Return what a device computes at most of so many assignments of a layer, int64 of the same shape."""
        if self.spread is None:
            return assigned
        return -(-assigned * self.spread // (self.devices * PERCENT))

    def makespan(self, loads: Tensor) -> tuple[Tensor, Tensor]:
        """Return the load of the busiest device, summed over layers, and the assignments that moved, int64 ``[B]``.

        Args:
            loads: assignments per expert, int64 ``[B, L, E]``.

        >>> loads = torch.tensor([[[4, 0, 4, 0], [2, 2, 2, 2]]])
        >>> [each.item() for each in Placement(4, 2, 4).makespan(loads)]
        [6, 0]
        >>> [each.item() for each in Placement(4, 2, 4, spread=100).makespan(loads)]
        [4, 4]
        """
        devices = self.by_device(loads)
        allowed = self.allowed(devices.sum(-1))
        over = (devices - allowed[..., None]).clamp_min(0)
        return torch.minimum(devices.amax(-1), allowed).sum(-1), over.sum((-2, -1))

    def most_busy(self, tokens: Tensor) -> Tensor:
        """Return the largest makespan of a layer, int64: all of so many tokens on one device, as far as guards allow.

        >>> Placement(8, 2, 4).most_busy(torch.tensor(10)).item()
        20
        """
        room = self.room(tokens)
        most = torch.minimum(tokens * min(self.chosen, self.per_device), room * self.per_device)
        return torch.minimum(most, self.allowed(tokens * self.chosen))

    def least_busy(self, tokens: Tensor) -> Tensor:
        """Return a makespan of a layer that no tokens go below, int64: what capacity leaves, evenly on all devices."""
        kept = self.chosen * torch.minimum(self.room(tokens), tokens)
        return -(-kept // self.devices)


def percent_of_share(loads: Tensor, placement: Placement) -> Tensor:
    """Return the largest load of an expert, in per cent of an even share, rounded up, int64 ``[B]``.

    That is the smallest capacity with which nothing is dropped.

    >>> percent_of_share(torch.tensor([[[4, 0, 2, 2]]]), Placement(4, 2, 4)).tolist()
    [200]
    """
    assigned = loads.sum(-1)
    shares = -(-loads.amax(-1) * placement.experts * PERCENT // assigned.clamp_min(1))
    return shares.amax(-1)


def percent_of_device(loads: Tensor, placement: Placement) -> Tensor:
    """Return the largest load of a device, in per cent of an even share, rounded up, int64 ``[B]``."""
    devices = placement.by_device(loads)
    assigned = devices.sum(-1)
    shares = -(-devices.amax(-1) * placement.devices * PERCENT // assigned.clamp_min(1))
    return shares.amax(-1).clamp_min(PERCENT)


def imbalance(busiest: Tensor, assigned: Tensor, devices: int) -> Tensor:
    """Return the makespan over that of even loads of so many assignments, float64 ``[B]``; NaN where there are none.

    >>> imbalance(torch.tensor([6, 0]), torch.tensor([16, 0]), 4).tolist()
    [1.5, nan]
    """
    even = assigned.to(torch.float64) / devices
    return torch.where(assigned > 0, busiest.to(torch.float64) / even, math.nan)
