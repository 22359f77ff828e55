"""DeepPerform: a generator is trained once, and makes each costly image by one forward pass of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.gates.learned import NetworkAttack
from torpor.attacks.search.balls import BALLS, apply
from torpor.attacks.search.objectives import running
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals, evading
from torpor.core.space import DenseSpace
from torpor.core.threat import Paper
from torpor.targets.base import Target

PAPER = Paper(
    "DeepPerform: An Efficient Approach for Performance Testing of Resource-Constrained Neural Networks",
    "Chen et al.",
    "ASE",
    2022,
    "arXiv:2210.05370",
)
BATCH = 32
WIDTH = 16


class Generator(nn.Module):
    """Maps images to changes of the same shape, each between -1 and 1: convolutions at full and at half size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.coarse = nn.Sequential(
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1),
        )
        self.back = nn.Conv2d(2 * WIDTH, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return changes ``[B, C, H, W]``."""
        fine = self.fine(images - 0.5).relu()
        coarse = F.interpolate(self.coarse(fine), images.shape[2:]).relu()
        change: Tensor = self.back(torch.cat([fine, coarse], 1)).tanh()
        return change


@dataclass(frozen=True, kw_only=True)
class DeepPerform(NetworkAttack):
    """Train a generator to open all gates of validation images, then add what it makes of an image.

    The loss is the cross-entropy of each gate with "runs". The paper's discriminator and its penalty on the norm keep
    changes inconspicuous; here the ball does. Adam from 1e-3, a tenth of it from half of the steps on, a hundredth from
    four fifths on.

    Attributes:
        steps: batches of 32 images that the generator learns from.
    """

    id: ClassVar[str] = "deepperform"
    paper: ClassVar[Paper | None] = PAPER
    reads: ClassVar[type | None] = GateSignals
    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2")
    radii: ClassVar[Mapping[str, float]] = {"Linf": 0.03125, "L2": 0.9**10}

    steps: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise UsageError(f"expected 1 step or more, got {self.steps}")

    @override
    def build(self, channels: int) -> nn.Module:
        return Generator(channels)

    @override
    def train(self, target: Target, network: nn.Module, inputs: Tensor, seed: int) -> int:
        rng = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        forwards = 0
        for step in range(self.steps):
            optimizer.param_groups[0]["lr"] = 1e-3 * (
                1.0 if 2 * step < self.steps else 0.1 if 5 * step < 4 * self.steps else 0.01
            )
            batch = inputs[torch.randint(len(inputs), (min(BATCH, len(inputs)),), generator=rng)]
            signals = target.signals(self._sent(target, network, batch))
            assert isinstance(signals, GateSignals)
            loss = evading(signals, F.softplus(-running(signals)).sum(1)).mean()
            forwards += len(batch)
            if not loss.requires_grad:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return forwards

    def _sent(self, target: Target, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return the images that would be sent, with the gradient of the generator's changes."""
        space, ball = target.space, BALLS[self.norm]
        assert isinstance(space, DenseSpace)
        made = network(inputs)
        change = made * self.eps if self.norm == "Linf" else ball.steepest(made) * self.eps
        return inputs + change + (apply(inputs, change.detach(), ball, self.eps, space) - inputs - change).detach()

    @override
    @torch.no_grad()
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        sent = self._sent(target, self.network(inputs), inputs)
        return Candidates(sent, forwards=nothing, backwards=nothing)
