"""Small systems for tests: one whose worst case is known, and random ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torpor.targets.ode.solver import Controller
from torpor.targets.ode.tableaus import DOPRI5, Tableau
from torpor.targets.ode.target import OdeTarget

SIDE = 4
SLOWEST, FASTEST = 1.0, 20.0


class MeanStem(nn.Module):
    """The state (1, a): what decays, and its rate, which is linear in the mean pixel."""

    def forward(self, images: Tensor) -> Tensor:
        rate = SLOWEST + (FASTEST - SLOWEST) * images.flatten(1).mean(1)
        return torch.stack([torch.ones_like(rate), rate], 1)


class Decay(nn.Module):
    """``dz/dt = -a z``, as a product of matrices, which costs 2 FLOPs; the rate stays."""

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        product = torch.bmm(state[:, None, :1], state[:, 1:, None]).flatten(1)
        return torch.cat([-product, torch.zeros_like(product)], 1)


class RandomSlope(nn.Module):
    """Two layers that look at the time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width + 1, 16), nn.Linear(16, width)
        with torch.no_grad():
            self.inner.weight *= 4
            self.outer.weight *= 4

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        time = time * torch.ones_like(state[:, :1])
        slope: Tensor = self.outer(torch.tanh(self.inner(torch.cat([state, time], 1))))
        return slope


@dataclass
class Parts:
    """A module by its parts."""

    stem: nn.Module
    slope: nn.Module
    head: nn.Module


def decay(tableau: Tableau = DOPRI5, max_steps: int = 64) -> OdeTarget:
    """Return a target whose steps do not fall as the mean pixel rises, so that the brightest image costs most."""
    parts = Parts(MeanStem(), Decay(), nn.Identity())
    controller = Controller(tableau, max_steps=max_steps)
    return OdeTarget(parts, input_shape=(1, SIDE, SIDE), controller=controller, name="toy-decay")


def random_ode(tableau: Tableau = DOPRI5, seed: int = 0, max_steps: int = 64, *, shared: bool = False) -> OdeTarget:
    """Return an untrained network of three classes."""
    torch.manual_seed(seed)
    linear = nn.Linear(SIDE * SIDE, 6)
    with torch.no_grad():
        linear.weight *= 8
    stem = nn.Sequential(nn.Flatten(), linear)
    parts = Parts(stem, RandomSlope(6), nn.Linear(6, 3))
    controller = Controller(tableau, max_steps=max_steps, shared=shared)
    return OdeTarget(parts, input_shape=(1, SIDE, SIDE), controller=controller, name="random-ode")


def noisy(count: int, seed: int = 0) -> Tensor:
    """Return random images."""
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def grays(*levels: float) -> Tensor:
    """Return images of one level each."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).contiguous()
