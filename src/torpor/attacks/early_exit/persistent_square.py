"""Square Attack for as long as it gains, against gradients that are missing or misleading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.base import Candidates
from torpor.attacks.early_exit.square import Square
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.search.random_search import Proposal
from torpor.core.batches import Samples, sample_generators
from torpor.core.errors import UsageError
from torpor.targets.base import Target

WINDOW = 150
"""Queries after which a search is judged."""
POLISH = 200
"""Query of the schedule at which the search around what is known begins: with squares of a hundredth of the pixels."""


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

    def search(self, target: Target, inputs: Tensor, labels: Samples, seed: int) -> Candidates:
        """See :meth:`Attack.search`; ``black_box_won`` tells where the fresh search beat the rivals' cost.

        Raises:
            UsageError: if the rivals are of another batch.
        """
        propose = self.proposal(target, inputs, sample_generators(inputs, seed, self.id))
        once = torch.ones(len(inputs), dtype=torch.int64)
        fresh = self.climb(target, inputs, propose, once)
        nothing = torch.zeros_like(fresh.queries)
        if self.rivals is None:
            self._persist(target, inputs, propose, fresh, 1, None)
            return Candidates(fresh.inputs, forwards=fresh.queries, backwards=nothing)
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
        return Candidates(fresh.inputs, forwards=fresh.queries, backwards=nothing, black_box_won=won)

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
