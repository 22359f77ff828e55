"""What a search hands over: the costliest candidate so far, how it grew, and the random search that keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.work import Outcome

MOST_POINTS = 64
"""Points of the curve of one sample at most; of longer ones, as many are kept, spread evenly, the last among them."""


class Improvement(NamedTuple):
    """A point where the best so far became costlier.

    Attributes:
        passes: forward and backward passes on the sample by then, this one included.
        cost: of the best from here on.
        member: of an ensemble, which found it; empty where there are none.
        spent: on all candidates by then, this one included; None where candidates are not billed.
    """

    passes: int
    cost: float
    member: str = ""
    spent: float | None = None


Curve = Sequence[Improvement]
"""Of one sample, in the order of the passes; costs rise from point to point."""


def rising(points: Iterable[Improvement], above: float, to: float, passes: int) -> tuple[Improvement, ...]:
    """Return the points that are costlier than all before them, up to the cost that was verified in the end.

    Args:
        points: what a search says.
        above: cost that any point must exceed: that of the clean input.
        to: cost of what the search found, as verified; where no point says how it came there, it came there last.
        passes: on the sample in all.

    >>> rising([Improvement(1, 2.0), Improvement(4, 5.0), Improvement(6, 4.0)], 2.0, 6.0, 9)
    (Improvement(passes=4, cost=5.0, member='', spent=None), Improvement(passes=9, cost=6.0, member='', spent=None))
    """
    found, member = list[Improvement](), ""
    for point in points:
        cost, member = min(point.cost, to), point.member
        if cost > (found[-1].cost if found else above):
            found.append(point._replace(cost=cost))
    if to > (found[-1].cost if found else above):
        found.append(Improvement(max(1, passes), to, member))
    return thinned(found)


def thinned(curve: Curve, most: int = MOST_POINTS) -> tuple[Improvement, ...]:
    """Return at most so many points of a curve, spread evenly, the first and the last among them.

    >>> [point.passes for point in thinned([Improvement(passes, passes) for passes in range(1, 10)], 3)]
    [1, 5, 9]
    """
    if len(curve) <= most:
        return tuple(curve)
    return tuple(curve[round(place * (len(curve) - 1) / (most - 1))] for place in range(most))


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a search found, one candidate per sample.

    Attributes:
        inputs: candidates: images ``[B, C, H, W]``, waves ``[B, T]`` or a tuple of texts.
        forwards: forward passes spent on each sample, int64 ``[B]``.
        backwards: backward passes spent on each sample, int64 ``[B]``.
        zero_gradient: whether most of the first gradient was exactly zero, bool ``[B]``; None without gradients.
        loss_fell: whether the loss fell by a tenth or more, bool ``[B]``; None without a surrogate loss.
        black_box_won: whether a gradient-free member beat all others, bool ``[B]``; None outside an ensemble.
        cut_short: whether the search had not come to its end when its time was over.
        curves: where the best so far became costlier, of each sample; None where that is known at the end only.
        bills: what the target billed for each candidate, in the order in which they were asked, of each sample; None
            where it does not say.
    """

    inputs: Samples
    forwards: Tensor
    backwards: Tensor
    zero_gradient: Tensor | None = None
    loss_fell: Tensor | None = None
    black_box_won: Tensor | None = None
    cut_short: bool = False
    curves: Sequence[Curve] | None = None
    bills: Sequence[Sequence[float]] | None = None


@dataclass
class Incumbent:
    """The costliest candidate of each sample so far, and how often the target was asked.

    Attributes:
        inputs: one per sample, a tensor ``[B, ...]`` or a list of texts; what :meth:`begin` was given at first.
        cost: of each, float64 ``[B]``; -1 where nothing was taken yet.
        queries: runs of the target on candidates of each sample, int64 ``[B]``.
        rank: what decides between candidates of equal cost, the least is best, ``[B]``; None if nothing does.
        backwards: backward passes on each sample, int64 ``[B]``.
        curves: of each sample, where its cost rose.

    >>> held = Incumbent.begin(torch.zeros(2, 1))
    >>> held.offer(torch.tensor([0, 1]), torch.tensor([[1.0], [2.0]]), torch.tensor([5.0, 6.0])).tolist()
    [True, True]
    >>> held.offer(torch.tensor([1]), torch.tensor([[3.0]]), torch.tensor([6.0])).tolist()
    [False]
    >>> held.inputs.tolist(), held.cost.tolist(), held.queries.tolist()
    ([[1.0], [2.0]], [5.0, 6.0], [1, 2])
    >>> held.curves[1]
    [Improvement(passes=1, cost=6.0, member='', spent=None)]
    """

    inputs: Samples
    cost: Tensor
    queries: Tensor
    rank: Tensor | None = None
    backwards: Tensor = field(init=False)
    curves: list[list[Improvement]] = field(init=False)

    def __post_init__(self) -> None:
        self.backwards = torch.zeros_like(self.queries)
        self.curves = [[] for _ in range(len(self.queries))]

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
        backwards: int | Tensor = 0,
        curves: Sequence[Curve] | None = None,
        member: str = "",
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
            backwards: backward passes that each took.
            curves: of the search for each, whose passes these are; None if it is known at its end only.
            member: whose the candidates are, in an ensemble.

        Returns:
            Which were taken, bool ``[N]``.
        """
        rows, cost = rows.to(self.cost.device), cost.to(self.cost)
        held = self.cost[rows]
        first = torch.full_like(cost, equals, dtype=torch.bool)
        if rank is not None:
            rank = rank.to(self.cost.device)
            if self.rank is None:
                self.rank = torch.full_like(self.cost, torch.inf, dtype=rank.dtype)
            first = rank <= self.rank[rows] if equals else rank < self.rank[rows]
        take = (cost > held) | ((cost == held) & first)
        if allowed is not None:
            take &= allowed
        taken, rose = rows[take], (take & (cost > held)).nonzero().flatten()
        self._put(taken, candidates, take)
        self.cost[taken] = cost[take]
        if rank is not None and self.rank is not None:
            self.rank[taken] = rank[take]
        begun = self._passes(rows[rose])
        self.queries[rows] += queries
        self.backwards[rows] += backwards
        if begun:
            known = [curves[place] for place in rose.tolist()] if curves is not None else [()] * len(begun)
            costs = zip(held[rose].tolist(), cost[rose].tolist(), strict=True)
            passes = zip(rows[rose].tolist(), begun, self._passes(rows[rose]), strict=True)
            for (row, before, after), (above, to), curve in zip(passes, costs, known, strict=True):
                points = rising(curve, above, to, after - before)
                self.curves[row] += [Improvement(before + at, one, name or member) for at, one, name, _ in points]
        return take

    def _passes(self, rows: Tensor) -> list[int]:
        """Return the passes on some samples so far, forward and backward."""
        found: list[int] = (self.queries[rows] + self.backwards[rows]).tolist()
        return found

    def _put(self, taken: Tensor, candidates: Samples, take: Tensor) -> None:
        if isinstance(self.inputs, Tensor):
            self.inputs[taken] = candidates[take].to(self.inputs)
            return
        for row, place in zip(taken.tolist(), take.nonzero().flatten().tolist(), strict=True):
            self.inputs[row] = candidates[place]


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
