"""Random search on the cost, for attackers without gradients, and to unmask gradients that lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.spaces import BALLS, apply, per_sample
from torpor.core.errors import UsageError
from torpor.core.paper import Paper
from torpor.core.seeds import draw, sample_generators
from torpor.core.threat import Access
from torpor.targets.gates import GateTarget

PAPER = Paper(
    "Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search",
    "Andriushchenko et al.",
    "ECCV",
    2020,
    "arXiv:1912.00049",
)


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square Attack with cost as its goal: change one random square at a time and keep what costs more.

    The attacker sees what a caller sees: the scores that the target returns, and how much it worked. Among candidates
    of equal cost the one whose returned scores are least confident wins, since it is closest to going on.

    Attributes:
        queries: runs of the target per sample.
        share: of the pixels in the first square; it halves along the paper's schedule.
    """

    id: ClassVar[str] = "square"
    paper: ClassVar[Paper | None] = PAPER
    access: ClassVar[Access] = Access.SCORE

    queries: int = 300
    share: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1 or not 0 < self.share <= 1:
            raise UsageError(f"expected 1 query or more and a share in (0, 1], got {self.queries} and {self.share}")

    def search(self, target: GateTarget, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        """See :meth:`Attack.search`."""
        ball = BALLS[self.norm]
        generators = sample_generators(inputs, seed, self.id)
        static = target.prices.cost(target.max_work(inputs)).to(inputs.device)
        best = apply(inputs, ball.random(generators, self.eps, inputs).sign() * self._level(inputs), ball, self.eps,
                     target.space)  # fmt: skip
        fitness, cost = _fitness(target, best)
        spent = torch.ones(len(inputs), dtype=torch.int64, device=inputs.device)
        for query in range(1, self.queries):
            rows = (cost < static).nonzero().flatten()
            if len(rows) == 0:
                break
            clean = inputs[rows]
            delta = self._proposal(best[rows] - clean, [generators[row] for row in rows.tolist()], query)
            candidate = apply(clean, delta, ball, self.eps, target.space)
            value, price = _fitness(target, candidate)
            spent[rows] += 1
            better = value > fitness[rows]
            taken = rows[better]
            best[taken], fitness[taken], cost[taken] = candidate[better], value[better], price[better]
        return Candidates(best, forwards=spent, backwards=torch.zeros_like(spent))

    def _level(self, inputs: Tensor) -> float:
        """Return the change of one pixel that, made everywhere, spends the budget."""
        pixels = inputs[0].numel()
        return {"Linf": self.eps, "L2": self.eps / math.sqrt(pixels), "L1": self.eps / pixels}[self.norm]

    def _proposal(self, delta: Tensor, generators: list[torch.Generator], query: int) -> Tensor:
        """Write one random square of random signs per channel into each perturbation."""
        _, channels, height, width = delta.shape
        halvings = sum(
            query * 10_000 / self.queries > mark for mark in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
        )
        area = self.share / 2**halvings
        side = max(1, min(round((area * height * width) ** 0.5), height, width))
        level = {"Linf": self.eps, "L2": self.eps / side, "L1": self.eps / side**2}[self.norm]
        chance = draw(generators, lambda g: torch.rand(2 + channels, generator=g), delta)
        top = (chance[:, 0] * (height - side + 1)).floor()
        left = (chance[:, 1] * (width - side + 1)).floor()
        ys = torch.arange(height, device=delta.device).view(1, 1, -1, 1) - per_sample(top, delta)
        xs = torch.arange(width, device=delta.device).view(1, 1, 1, -1) - per_sample(left, delta)
        inside = (ys >= 0) & (ys < side) & (xs >= 0) & (xs < side)
        color = torch.where(chance[:, 2:] < 0.5, -level, level).view(-1, channels, 1, 1)
        return torch.where(inside, color, delta)


def _fitness(target: GateTarget, candidate: Tensor) -> tuple[Tensor, Tensor]:
    """Return cost plus a tie-breaker below any unit's price, and cost, both ``[B]``."""
    outcome = target.run(candidate)
    cost = target.claimed(outcome).to(candidate.device)
    doubt = (1 - outcome.outputs.softmax(-1).amax(-1).to(cost)).nan_to_num(-1)  # refused: no answer
    return cost + 0.5 * doubt, cost
