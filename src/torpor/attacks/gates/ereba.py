"""EREBA: without gradients, along those of a network that learned from queries what images cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.gates.learned import NetworkAttack
from torpor.attacks.search.balls import BALLS, apply, spent_noise
from torpor.attacks.search.incumbent import Incumbent
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals
from torpor.core.space import DenseSpace
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target

PAPER = Paper(
    "EREBA: Black-box Energy Testing of Adaptive Neural Networks",
    "Haque et al.",
    "ICSE",
    2022,
    "10.1145/3510003.3510088",
)
BATCH = 64
WIDTH = 16
CLIMB = 20
"""Steps up the surrogate, between which an image is asked about ``queries`` times."""


class CostEstimator(nn.Module):
    """Estimates what an image costs, in standard deviations from the mean of what it learned from.

    In double precision, so that no batch's rounding changes the sign of a gradient.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.body = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * WIDTH, 1),
        ).double()

    def forward(self, images: Tensor) -> Tensor:
        """Return estimates ``[B]``."""
        estimate: Tensor = self.body(images.double() - 0.5).squeeze(1)
        return estimate

    def learn(self, images: Tensor, cost: Tensor, steps: int, rng: torch.Generator) -> None:
        """Learn the costs ``[N]`` of images ``[N, C, H, W]``."""
        self.mean.copy_(cost.mean())
        self.scale.copy_(cost.std().nan_to_num(0.0).clamp_min(1e-9 * cost.abs().amax().clamp_min(1e-9)))
        known = ((cost - self.mean) / self.scale).to(images.device)
        optimizer = torch.optim.Adam(self.parameters(), 2e-3)
        for _ in range(steps):
            rows = torch.randint(len(images), (min(BATCH, len(images)),), generator=rng)
            loss = (self(images[rows]) - known[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@dataclass(frozen=True, kw_only=True)
class EREBA(NetworkAttack):
    """Ask what images cost, train a surrogate on the answers, climb it, ask about what that found, and train again.

    Each round asks about every validation image once: clean, with noise, and then as the surrogate of the round before
    would change it. A test image climbs the last surrogate and is asked about on its way. The paper's surrogate and its
    numbers of queries are not known: these are torpor's.

    Attributes:
        rounds: of queries on validation images.
        steps: of the surrogate's training in each round.
        queries: runs of the target per sample.
    """

    id: ClassVar[str] = "ereba"
    paper: ClassVar[Paper | None] = PAPER
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[tuple[str, ...]] = ("Linf", "L2")
    radii: ClassVar[Mapping[str, float]] = {"Linf": 0.03125, "L2": 0.9**10}

    rounds: int = 5
    steps: int = 150
    queries: int = 10

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        """Tell whether ``target`` has gates, or work that follows its input by degrees; their signals are not read."""
        signals = target.family.signals
        return super().applies_to(target) and signals is not None and issubclass(signals, GateSignals)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.rounds, self.steps) < 1 or not 1 <= self.queries <= CLIMB:
            raise UsageError(
                f"expected 1 round and 1 step or more, and 1 to {CLIMB} queries, got {self.rounds}, {self.steps} and "
                f"{self.queries}"
            )

    @override
    def build(self, channels: int) -> nn.Module:
        return CostEstimator(channels)

    @override
    def train(self, target: Target, network: nn.Module, inputs: Tensor, seed: int) -> int:
        assert isinstance(network, CostEstimator)
        space, ball, rng = target.space, BALLS[self.norm], torch.Generator().manual_seed(seed)
        assert isinstance(space, DenseSpace)
        images, costs = [], []
        for number in range(self.rounds):
            asked = inputs
            if number == 1:
                noise = spent_noise(self.budget, space, sample_generators(inputs, seed, self.id), inputs)
                asked = apply(inputs, noise, ball, self.eps, space)
            elif number > 1:
                asked = self._climb(network, inputs, space)[-1]
            images.append(asked)
            costs += [target.attacker_cost(target.run(batch)) for batch in asked.split(BATCH)]
            network.learn(torch.cat(images), torch.cat(costs), self.steps, rng)
        return self.rounds * len(inputs)

    def _climb(self, network: nn.Module, inputs: Tensor, space: DenseSpace) -> list[Tensor]:
        """Return the images on the way up the surrogate, the last at its end."""
        ball, change, path = BALLS[self.norm], torch.zeros_like(inputs), []
        for _ in range(CLIMB):
            here = (inputs + change).clamp(space.low, space.high).requires_grad_()
            (slope,) = torch.autograd.grad(network(here).sum(), here)
            change = ball.project(here.detach() - inputs + 4 * self.eps / CLIMB * ball.steepest(slope), self.eps)
            path.append(apply(inputs, change, ball, self.eps, space))
        return path

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        space = target.space
        assert isinstance(space, DenseSpace)
        best, rows = Incumbent.begin(inputs), torch.arange(len(inputs))
        path = self._climb(self.network(inputs), inputs, space)
        for number in range(1, self.queries + 1):
            asked = path[number * CLIMB // self.queries - 1]
            best.offer(rows, asked, target.attacker_cost(target.run(asked)))
        return Candidates(best.inputs, best.queries, best.backwards, curves=best.curves)
