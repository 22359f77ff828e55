"""Random search on the cost, for attackers without gradients, and to unmask gradients that lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.objectives import EXITS
from torpor.attacks.spaces import BALLS, apply, per_sample
from torpor.core.errors import UsageError
from torpor.core.paper import Paper
from torpor.core.seeds import draw, sample_generators
from torpor.core.threat import Access
from torpor.targets.exit_rules import lead
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

    The attacker sees what a caller sees: what the target returns, and how much it worked. Of targets with exits, among
    candidates of equal cost the one whose returned scores are least confident wins, since it is closest to going on.

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
        generators = sample_generators(inputs, seed, self.id)
        held = self.begin(target, self.scattered(target, inputs, generators))
        self.climb(target, inputs, held, generators, range(1, self.queries), torch.arange(len(inputs)))
        return Candidates(held.inputs, forwards=held.spent, backwards=torch.zeros_like(held.spent))

    def scattered(self, target: GateTarget, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return inputs with random signs everywhere, which spend the budget."""
        ball = BALLS[self.norm]
        signs = ball.random(generators, self.eps, inputs).sign()
        return apply(inputs, signs * self._level(inputs), ball, self.eps, target.space)

    def begin(self, target: GateTarget, inputs: Tensor) -> Held:
        """Ask the target about the first candidates."""
        cost, surety = _asked(target, inputs)
        return Held(inputs.clone(), cost, surety, torch.ones(len(inputs), dtype=torch.int64, device=inputs.device))

    def climb(
        self,
        target: GateTarget,
        clean: Tensor,
        held: Held,
        generators: list[torch.Generator],
        queries: range,
        rows: Tensor,
    ) -> None:
        """Offer one square per query to those of ``rows`` that are below the static bound.

        A candidate that is as good as what is held takes its place, so that plateaus, as rounding makes them, are
        crossed instead of guarded.
        """
        ball, static = BALLS[self.norm], target.prices.cost(target.max_work(clean)).to(held.cost.device)
        rows = rows.to(clean.device)
        for query in queries:
            rows = rows[(held.cost < static)[rows]]
            if len(rows) == 0:
                break
            near = clean[rows]
            delta = self._proposal(held.inputs[rows] - near, [generators[row] for row in rows.tolist()], query)
            candidate = apply(near, delta, ball, self.eps, target.space)
            cost, surety = _asked(target, candidate)
            held.spent[rows] += 1
            take = ~behind(cost, surety, held.cost[rows], held.surety[rows])
            taken = rows[take]
            held.inputs[taken], held.cost[taken], held.surety[taken] = candidate[take], cost[take], surety[take]

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


@dataclass(eq=False)
class Held:
    """What a search holds for each sample.

    Attributes:
        inputs: the best so far ``[B, ...]``.
        cost: of it, float64 ``[B]``.
        surety: log-odds of the likeliest class in what the target returned for it, ``[B]``: among candidates of equal
            cost, the least sure is closest to going on. Infinite where there was no answer, or there are no exits.
        spent: runs of the target, int64 ``[B]``.
    """

    inputs: Tensor
    cost: Tensor
    surety: Tensor
    spent: Tensor


def behind(cost: Tensor, surety: Tensor, other_cost: Tensor, other_surety: Tensor) -> Tensor:
    """Tell where something costs less than another, or as much and is surer, bool ``[B]``."""
    return (cost < other_cost) | ((cost == other_cost) & (surety > other_surety))


def _asked(target: GateTarget, candidate: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a caller sees of each candidate: its cost, and how sure the answer is, both ``[B]``."""
    outcome = target.run(candidate)
    cost = target.claimed(outcome).to(candidate.device)
    if not target.offers(EXITS):
        return cost, torch.full_like(cost, torch.inf)
    return cost, lead(outcome.outputs).nan_to_num(torch.inf, torch.inf, -torch.inf).to(candidate.device)
