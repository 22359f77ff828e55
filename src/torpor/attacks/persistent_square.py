"""Square Attack for as long as it pays, against gradients that are not there, or lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from torpor.attacks.base import Candidates
from torpor.attacks.square import Held, Square, behind
from torpor.core.batches import choose
from torpor.core.errors import UsageError
from torpor.core.seeds import sample_generators
from torpor.targets.gates import GateTarget

WINDOW = 300
"""Queries after which a search is judged."""
POLISH = 200
"""Query of the schedule at which the search around what is known begins: with squares of a hundredth of the pixels."""


@dataclass(frozen=True, kw_only=True)
class PersistentSquare(Square):
    """Square Attack that goes on while it gains, and then once more from the best that anybody found.

    After each 300 queries, a sample goes on if its cost rose, or if its answers lose surety fast enough to lose all of
    it within the queries that are left, the paper's 10,000; and, as long as the search is a fresh one, if it is not
    behind its rivals. So it is short where gradients are right, and long where they are not.

    Attributes:
        rivals: what other attacks found for the same batch ``[B, C, H, W]``; None if there are none.
    """

    id: ClassVar[str] = "square-persistent"

    queries: int = 10_000
    rivals: Tensor | None = field(default=None, compare=False, repr=False)

    def search(self, target: GateTarget, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        """See :meth:`Attack.search`; ``black_box_won`` tells where the fresh search beat the rivals' cost.

        Raises:
            UsageError: if the rivals are of another batch.
        """
        generators = sample_generators(inputs, seed, self.id)
        fresh = self.begin(target, self.scattered(target, inputs, generators))
        if self.rivals is None:
            self._persist(target, inputs, fresh, generators, 1, None)
            return Candidates(fresh.inputs, forwards=fresh.spent, backwards=torch.zeros_like(fresh.spent))
        if self.rivals.shape != inputs.shape:
            raise UsageError(
                f"expected rivals of shape {list(inputs.shape)}, got {list(self.rivals.shape)}; pass the same batch's"
            )
        rival = self.begin(target, self.rivals)
        self._persist(target, inputs, fresh, generators, 1, rival)
        won = fresh.cost > rival.cost
        ahead = behind(rival.cost, rival.surety, fresh.cost, fresh.surety)
        best = Held(
            choose(ahead, fresh.inputs, rival.inputs),
            choose(ahead, fresh.cost, rival.cost),
            choose(ahead, fresh.surety, rival.surety),
            fresh.spent + rival.spent,
        )
        self._persist(target, inputs, best, generators, POLISH, None)
        nothing = torch.zeros_like(best.spent)
        return Candidates(best.inputs, forwards=best.spent, backwards=nothing, black_box_won=won)

    def _persist(
        self,
        target: GateTarget,
        inputs: Tensor,
        held: Held,
        generators: list[torch.Generator],
        first: int,
        rival: Held | None,
    ) -> None:
        """Climb from query ``first`` of the schedule on, window by window, with those samples that still gain."""
        rows = torch.arange(len(inputs), device=inputs.device)
        for start in range(first, self.queries, WINDOW):
            before, end = replace(held, cost=held.cost.clone(), surety=held.surety.clone()), start + WINDOW
            self.climb(target, inputs, held, generators, range(start, min(end, self.queries)), rows)
            windows = (self.queries - end) / WINDOW
            goes = (held.cost > before.cost) | ((before.surety - held.surety) * windows >= held.surety)
            if rival is not None:
                goes &= ~behind(held.cost, held.surety, rival.cost, rival.surety)
            rows = rows[goes[rows]]
            if len(rows) == 0:
                break
