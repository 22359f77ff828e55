"""Random search: ask the target about one candidate after the other, and keep the costliest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from torpor.attacks.search.incumbent import Incumbent
from torpor.core.batches import Samples
from torpor.core.work import Outcome


class Proposal(Protocol):
    """What a random search tries next."""

    def __call__(self, query: int, rows: Tensor, held: Incumbent) -> Samples:
        """Return a candidate for each of ``rows`` that could be sent.

        Args:
            query: number of the query, from 0.
            rows: samples, int64 ``[N]``.
            held: the costliest so far.
        """


def random_search(
    target: Any,  # noqa: ANN401 - whatever runs and bills
    inputs: Samples,
    propose: Proposal,
    queries: Tensor,
    *,
    held: Incumbent | None = None,
    first: int = 0,
    rank: Callable[[Outcome], Tensor] | None = None,
    most: Tensor | None = None,
    watch: Callable[[Tensor, Outcome], None] | None = None,
) -> Incumbent:
    """Run the target on what ``propose`` returns, and keep the costliest candidate of each sample.

    Nothing is assumed of the target but that it runs and has an attacker cost, so that this
    serves every mechanism. It draws nothing itself: ``propose`` has generators of its own, one per sample.

    Args:
        target: what to ask.
        inputs: clean inputs.
        propose: makes candidates.
        queries: number of the query before which each sample leaves, int64 ``[B]``.
        held: what to continue from, changed in place; nothing yet if None.
        first: number of the first query.
        rank: from what came back to what decides between candidates of equal cost, ``[N]``, the least is best;
            candidates that are as good as what is held then take its place, so that plateaus are crossed.
        most: cost ``[B]`` at which a sample leaves; none does if None.
        watch: called with each answer and the rows that it is of.

    Returns:
        The costliest, and the queries.

    >>> import torch
    >>> from torpor.targets.early_exit.toys import needle
    >>> grays = lambda query, rows, held: torch.full((len(rows), 1, 4, 4), query / 10)
    >>> found = random_search(needle(), torch.zeros(1, 1, 4, 4), grays, torch.tensor([9]))
    >>> round(found.inputs.mean().item(), 3), found.queries.tolist()  # 0.5 is in all windows
    (0.5, [9])
    """
    held = Incumbent.begin(inputs) if held is None else held
    queries = queries.to(held.cost.device)
    for query in range(first, int(queries.max())):
        goes = queries > query
        if most is not None:
            goes &= held.cost < most.to(held.cost)
        rows = goes.nonzero().flatten()
        if len(rows) == 0:
            break
        candidates = propose(query, rows, held)
        outcome = target.run(candidates)
        ranks = None if rank is None else rank(outcome)
        held.offer(rows, candidates, target.attacker_cost(outcome), ranks, equals=rank is not None)
        if watch is not None:
            watch(rows, outcome)
    return held
