"""Random search on the cost, for attackers without gradients, and to reveal misleading gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.balls import apply, ball_of
from torpor.attacks.search.incumbent import Incumbent, Proposal, random_search
from torpor.attacks.search.objectives import EXITS
from torpor.attacks.search.squares import moved, tiled, window
from torpor.core.batches import Samples, draw, sample_generators
from torpor.core.errors import UsageError
from torpor.core.space import DenseSpace
from torpor.core.threat import Access, Paper
from torpor.core.work import Outcome
from torpor.targets.base import Target
from torpor.targets.early_exit.exit_rules import lead

PAPER = Paper(
    "Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search",
    "Andriushchenko et al.",
    "ECCV",
    2020,
    "arXiv:1912.00049",
)


LEAST_SIDE = 3
"""Of squares whose mass is moved."""

WINDOW = 150
"""Queries after which a search is judged."""
POLISH = 200
"""Query of the schedule at which the search around what is known begins: with squares of a hundredth of the pixels."""


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square Attack with cost as its goal: change one random square at a time and keep what costs more.

    Linf begins with vertical stripes, L2 with a grid of bumps, and moves mass between squares. L1, which the paper does
    not have, writes squares of the whole budget, which projection then shares with what is there: on ``sdn-digits`` it
    finds three times what moving mass finds (Croce and Hein, "Mind the Box", ICML 2021).

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

    @override
    def search(self, target: Target, inputs: Tensor, labels: Samples, seed: int) -> Candidates:
        propose = self.proposal(target, inputs, sample_generators(inputs, seed, self.id))
        held = self.climb(target, inputs, propose, torch.full((len(inputs),), self.queries))
        return Candidates(held.inputs, forwards=held.queries, backwards=held.backwards, curves=held.curves)

    def proposal(self, target: Target, clean: Tensor, generators: list[torch.Generator]) -> Proposal:
        """Return what proposes stripes or tiles that spend the budget first, then one square per query."""
        space, ball = target.space, ball_of(self.budget, target.space)
        assert isinstance(space, DenseSpace)

        def propose(query: int, rows: Tensor, held: Incumbent) -> Tensor:
            near, own = clean[rows], [generators[row] for row in rows.tolist()]
            delta = torch.zeros_like(near) if query == 0 else held.inputs[rows] - near
            part, level = ball.free(delta), ball.even(self.eps, near)
            part.copy_(self._first(part, own, level) if query == 0 else self._square(part, own, query, level))
            return apply(near, delta, ball, self.eps, space)

        return propose

    def climb(
        self,
        target: Target,
        clean: Tensor,
        propose: Proposal,
        queries: Tensor,
        held: Incumbent | None = None,
        first: int = 0,
    ) -> Incumbent:
        """Search until query ``queries`` ``[B]`` of each sample, or until it is at the static bound.

        A candidate that is as good as what is held takes its place, so that plateaus, as rounding makes them, are
        crossed instead of guarded.
        """
        most = target.prices.cost(target.max_work(clean))
        rank = partial(surety, target)
        return random_search(target, clean, propose, queries, held=held, first=first, rank=rank, most=most)

    def _first(self, like: Tensor, generators: list[torch.Generator], level: float) -> Tensor:
        """Draw vertical stripes of random signs per channel, a grid of bumps for L2, or random signs for L1."""
        if self.norm == "L2":
            return tiled(self.eps, generators, like)
        if self.norm == "L1":
            signs = draw(generators, lambda g: torch.rand(like.shape[1:], generator=g), like) - 0.5
            return signs.sign() * level
        channels, width = like.shape[1], like.shape[3]
        stripes = draw(generators, lambda g: torch.rand(channels, 1, width, generator=g), like) - 0.5
        return (stripes.sign() * level).expand_as(like)

    def _square(self, delta: Tensor, generators: list[torch.Generator], query: int, level: float) -> Tensor:
        """Write one random square into each perturbation: random signs per channel, or for L2 mass from another."""
        _, channels, height, width = delta.shape
        halvings = sum(
            query * 10_000 / self.queries > mark for mark in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
        )
        area = self.share / 2**halvings
        side = max(1, min(round((area * height * width) ** 0.5), height, width))
        if self.norm == "L2":
            return moved(self.eps, delta, generators, min(max(side, LEAST_SIDE), height, width))
        level = self.eps / side**2 if self.norm == "L1" else level
        uniform = draw(generators, lambda g: torch.rand(2 + channels, generator=g), delta)
        inside, _, _ = window(uniform[:, :2], side, delta)
        color = torch.where(uniform[:, 2:] < 0.5, -level, level).view(-1, channels, 1, 1)
        return torch.where(inside, color, delta)


def surety(target: Target, outcome: Outcome) -> Tensor:
    """Return how sure the answers of a target with exits are, ``[B]``: log-odds of the likeliest class.

    Among candidates of equal cost, the least sure is closest to going on. Infinite where there was no answer, and for
    targets without exits, whose answers do not show it.
    """
    if not target.offers(EXITS):
        return torch.full((len(outcome.work),), torch.inf)
    return lead(outcome.outputs).nan_to_num(torch.inf, torch.inf, -torch.inf)


@dataclass(frozen=True, kw_only=True)
class PersistentSquare(Square):
    """Square Attack that continues while it gains, and then runs once more from the best that any attack found.

    After each 150 queries, a sample continues if its cost rose, or if its margins shrink fast enough to
    vanish within the queries that are left, the paper's 10,000; and, in the first of the two searches, unless it
    trails its rivals. So it is short where gradients are right, and long where they are not.

    Attributes:
        rivals: what other attacks found for the same batch ``[B, C, H, W]``; None if there are none.
    """

    id: ClassVar[str] = "square-persistent"

    queries: int = 10_000
    rivals: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def usual_queries(self) -> int:
        """Queries of a sample on which gradients are right: both searches end when they are judged first."""
        return 2 * WINDOW

    def search(self, target: Target, inputs: Tensor, labels: Samples, seed: int) -> Candidates:
        """See :meth:`Attack.search`; ``black_box_won`` tells where the fresh search beat the rivals' cost.

        Raises:
            UsageError: if the rivals are of another batch.
        """
        propose = self.proposal(target, inputs, sample_generators(inputs, seed, self.id))
        once = torch.ones(len(inputs), dtype=torch.int64)
        fresh = self.climb(target, inputs, propose, once)
        if self.rivals is None:
            self._persist(target, inputs, propose, fresh, 1, None)
            return Candidates(fresh.inputs, fresh.queries, fresh.backwards, curves=fresh.curves)
        if self.rivals.shape != inputs.shape:
            raise UsageError(
                f"expected rivals of shape {list(inputs.shape)}, got {list(self.rivals.shape)}; pass the same batch's"
            )
        rivals = self.rivals
        rival = self.climb(target, inputs, lambda query, rows, held: rivals[rows], once)
        self._persist(target, inputs, propose, fresh, 1, rival)
        won = fresh.cost > rival.cost
        rows = torch.arange(len(inputs))
        fresh.offer(rows, rival.inputs, rival.cost, rival.rank, equals=True, queries=rival.queries)
        self._persist(target, inputs, propose, fresh, POLISH, None)
        return Candidates(fresh.inputs, fresh.queries, fresh.backwards, black_box_won=won, curves=fresh.curves)

    def _persist(
        self,
        target: Target,
        inputs: Tensor,
        propose: Proposal,
        held: Incumbent,
        first: int,
        rival: Incumbent | None,
    ) -> None:
        """Climb from query ``first`` of the schedule on, window by window, with those samples that still gain."""
        goes = torch.ones_like(held.cost, dtype=torch.bool)
        for start in range(first, self.queries, WINDOW):
            assert held.rank is not None
            cost, rank, end = held.cost.clone(), held.rank.clone(), start + WINDOW
            self.climb(target, inputs, propose, torch.where(goes, min(end, self.queries), 0), held, start)
            windows = (self.queries - end) / WINDOW
            goes &= (held.cost > cost) | ((rank - held.rank) * windows >= held.rank)
            if rival is not None:
                goes &= ~trails(held, rival)
            if not goes.any():
                break


def trails(held: Incumbent, rival: Incumbent) -> Tensor:
    """Tell where something costs less than another, or as much and is surer, bool ``[B]``."""
    assert held.rank is not None
    assert rival.rank is not None
    return (held.cost < rival.cost) | ((held.cost == rival.cost) & (held.rank > rival.rank))
