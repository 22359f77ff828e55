"""A neural ordinary differential equation that integrates for longer where an early classifier is unsure."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from torpor.data.sets import DataSet
from torpor.targets.ode.solver import Controller
from torpor.targets.ode.tableaus import DOPRI5
from torpor.targets.ode.target import OdeTarget

CLASSES = 10
WIDTH, HIDDEN = 32, 64
LONGEST = 30.0
"""The horizon of an image of which the early classifier knows nothing; it is 1 where that is sure."""
MAX_STEPS = 32


class UnsureStem(nn.Module):
    """Map digits ``[B, 1, 32, 32]`` to features, and to the horizon that an early classifier's entropy sets."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(512, WIDTH))
        self.early = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the state in which the solution begins, ``[B, WIDTH + 1]``."""
        features = self.features(images)
        chances = self.early(features).log_softmax(-1)
        entropy = -(chances.exp() * chances).sum(-1, keepdim=True) / math.log(CLASSES)
        return torch.cat([features, 1 + (LONGEST - 1) * entropy], 1)


class HorizonSlope(nn.Module):
    """The right-hand side: two layers; while the solver's time runs from 0 to 1, a sample's runs to its horizon.

    The horizon is the last value of the state, and stays as it is (adaptive depth, Massaroli et al., "Dissecting Neural
    ODEs", NeurIPS 2020).
    """

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(WIDTH + 1, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        """Return the derivative ``[B, WIDTH + 1]`` of states of that shape."""
        features, horizon = state[:, :-1], state[:, -1:]
        time = time * torch.ones_like(horizon)
        slope = self.outer(torch.tanh(self.inner(torch.cat([features, time], 1))))
        return torch.cat([horizon * slope, torch.zeros_like(horizon)], 1)


class FeatureHead(nn.Module):
    """Score classes by the features of a state, its horizon left out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)

    def forward(self, state: Tensor) -> Tensor:
        """Return class scores ``[B, CLASSES]``."""
        scores: Tensor = self.linear(state[:, :-1])
        return scores


class OdeNet(nn.Module):
    """The untrained network; training solves it, and so does :class:`~torpor.targets.ode.target.OdeTarget`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slope, self.head = UnsureStem(), HorizonSlope(), FeatureHead()


def odenet_target(network: OdeNet, *, name: str, source: Callable[[Path | None], DataSet]) -> OdeTarget:
    """Return the target: dopri5 at tolerances of 1e-3, the paper's, and at most 32 steps."""
    controller = Controller(DOPRI5, max_steps=MAX_STEPS)
    return OdeTarget(network, input_shape=(1, 32, 32), controller=controller, name=name, source=source)
