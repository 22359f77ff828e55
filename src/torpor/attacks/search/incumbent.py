"""The costliest candidate so far: the one place where searches keep the costlier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.batches import Samples


@dataclass
class Incumbent:
    """The costliest candidate of each sample so far, and how often the target was asked.

    Attributes:
        inputs: one per sample, a tensor ``[B, ...]`` or a list of texts; what :meth:`begin` was given at first.
        cost: of each, float64 ``[B]``; -1 where nothing was taken yet.
        queries: runs of the target on candidates of each sample, int64 ``[B]``.
        rank: what decides between candidates of equal cost, the least is best, ``[B]``; None if nothing does.

    >>> held = Incumbent.begin(torch.zeros(2, 1))
    >>> held.offer(torch.tensor([0, 1]), torch.tensor([[1.0], [2.0]]), torch.tensor([5.0, 6.0])).tolist()
    [True, True]
    >>> held.offer(torch.tensor([1]), torch.tensor([[3.0]]), torch.tensor([6.0])).tolist()
    [False]
    >>> held.inputs.tolist(), held.cost.tolist(), held.queries.tolist()
    ([[1.0], [2.0]], [5.0, 6.0], [1, 2])
    """

    inputs: Samples
    cost: Tensor
    queries: Tensor
    rank: Tensor | None = None

    @classmethod
    def begin(cls, inputs: Samples) -> Incumbent:
        """Return what any candidate is costlier than; ``inputs`` stay where none is offered."""
        device = inputs.device if isinstance(inputs, Tensor) else torch.device("cpu")
        held = inputs.clone() if isinstance(inputs, Tensor) else list(inputs)
        cost = torch.full((len(inputs),), -1.0, dtype=torch.float64, device=device)
        return cls(held, cost, torch.zeros(len(inputs), dtype=torch.int64, device=device))

    def offer(
        self,
        rows: Tensor,
        candidates: Samples,
        cost: Tensor,
        rank: Tensor | None = None,
        *,
        allowed: Tensor | None = None,
        equals: bool = False,
        queries: int | Tensor = 1,
    ) -> Tensor:
        """Take the candidates that are costlier than what is held, or cost as much and rank before it.

        Args:
            rows: samples that the candidates are of, int64 ``[N]``, each once.
            candidates: ``[N, ...]``, or texts.
            cost: of each, ``[N]``.
            rank: of each, ``[N]``; in every offer or in none.
            allowed: which may be taken at all, bool ``[N]``; all if None.
            equals: take also what is neither costlier nor cheaper, and ranks alike: that crosses plateaus.
            queries: runs of the target that each candidate took.

        Returns:
            Which were taken, bool ``[N]``.
        """
        rows, cost = rows.to(self.cost.device), cost.to(self.cost)
        held = self.cost[rows]
        before = torch.full_like(cost, equals, dtype=torch.bool)
        if rank is not None:
            rank = rank.to(self.cost.device)
            if self.rank is None:
                self.rank = torch.full_like(self.cost, torch.inf, dtype=rank.dtype)
            before = rank <= self.rank[rows] if equals else rank < self.rank[rows]
        take = (cost > held) | ((cost == held) & before)
        if allowed is not None:
            take &= allowed
        taken = rows[take]
        self._put(taken, candidates, take)
        self.cost[taken] = cost[take]
        if rank is not None and self.rank is not None:
            self.rank[taken] = rank[take]
        self.queries[rows] += queries
        return take

    def _put(self, taken: Tensor, candidates: Samples, take: Tensor) -> None:
        if isinstance(self.inputs, Tensor):
            self.inputs[taken] = candidates[take].to(self.inputs)
            return
        for row, place in zip(taken.tolist(), take.nonzero().flatten().tolist(), strict=True):
            self.inputs[row] = candidates[place]
