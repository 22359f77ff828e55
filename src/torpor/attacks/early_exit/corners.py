"""Random search among the corners of the budget: for gates whose gradients and squares lead astray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.balls import apply, ball_of
from torpor.attacks.search.incumbent import Incumbent, Proposal, random_search
from torpor.core.batches import Samples, draw, sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals, allowed
from torpor.core.space import DenseSpace
from torpor.core.threat import Paper
from torpor.core.work import Outcome
from torpor.targets.base import Target

DRAWS, FLIPS = 50, 200
"""Queries of one round: random signs, and flips of signs from the best of them."""
LEAST_ROUNDS, PATIENCE, MOST_ROUNDS = 8, 4, 40


@dataclass(frozen=True, kw_only=True)
class Corners(Attack):
    """Try random signs everywhere, then flip the signs of a few values of the best; several rounds of it.

    The best is what costs most, and then what brings an open gate closest to its threshold. One query flips between one
    and all values, in a number that is drawn log-uniformly, so that every scale is tried at any time. A sample has
    eight rounds, and continues until four in a row have found nothing costlier, or there were 40. The first flips start
    from what other attacks found, if that is better.

    Attributes:
        rivals: what other attacks found for the same batch ``[B, C, H, W]``; None if there is nothing.
    """

    id: ClassVar[str] = "corners"
    paper: ClassVar[Paper | None] = None
    reads: ClassVar[type | None] = GateSignals

    rivals: Tensor | None = field(default=None, compare=False, repr=False)

    def search(self, target: Target, inputs: Tensor, labels: Samples, seed: int) -> Candidates:
        """See :meth:`Attack.search`.

        Raises:
            UsageError: if the rivals are of another batch.
        """
        if self.rivals is not None and self.rivals.shape != inputs.shape:
            raise UsageError(
                f"expected rivals of shape {list(inputs.shape)}, got {list(self.rivals.shape)}; pass the same batch's"
            )
        seen, best, everyone = Seen(target), Incumbent.begin(inputs), torch.arange(len(inputs))
        most = target.prices.cost(target.max_work(inputs)).to(best.cost)
        propose = self._proposal(target, inputs, seed)
        since = torch.zeros_like(best.queries)
        goes = torch.ones_like(since, dtype=torch.bool)
        for number in range(MOST_ROUNDS):
            queries = torch.where(goes, DRAWS + FLIPS, 0)
            held = random_search(seen, inputs, propose(number), queries, rank=nearest, most=most)
            assert held.rank is not None
            better = held.cost > best.cost
            best.offer(
                everyone, held.inputs, held.cost, held.rank, allowed=goes, queries=held.queries, curves=held.curves
            )
            since = torch.where(better, 0, since + 1)
            goes &= (best.cost < most) & ((since < PATIENCE) | (number + 1 < LEAST_ROUNDS))
            if not goes.any():
                break
        return Candidates(best.inputs, forwards=best.queries, backwards=best.backwards, curves=best.curves)

    def _proposal(self, target: Target, inputs: Tensor, seed: int) -> Rounds:
        return Rounds(self, target, inputs, sample_generators(inputs, seed, self.id))


@dataclass(frozen=True)
class Rounds:
    """What the rounds of a search propose; called with the number of a round, from 0."""

    attack: Corners
    target: Target
    inputs: Tensor
    generators: list[torch.Generator]

    def __call__(self, number: int) -> Proposal:
        """Return the proposals of one round."""
        space, eps = self.target.space, self.attack.eps
        ball = ball_of(self.attack.budget, space)
        assert isinstance(space, DenseSpace)
        level = ball.even(eps, self.inputs)

        def propose(query: int, rows: Tensor, held: Incumbent) -> Tensor:
            near, own = self.inputs[rows], [self.generators[row] for row in rows.tolist()]
            signs = (draw(own, lambda g: torch.rand(near.shape[1:], generator=g), near) - 0.5).sign() * level
            if query < DRAWS:
                delta = signs
            elif query == DRAWS and number == 0 and self.attack.rivals is not None:
                return self.attack.rivals[rows]
            else:
                delta = held.inputs[rows] - near
                delta = torch.where(flips(own, near), torch.where(delta == 0, signs, -delta.sign() * level), delta)
            return apply(near, delta, ball, eps, space)

        return propose


def flips(generators: list[torch.Generator], like: Tensor) -> Tensor:
    """Choose one or more values of each sample, in a number that is drawn log-uniformly, bool ``[B, ...]``.

    >>> flips([torch.Generator().manual_seed(1)], torch.zeros(1, 1, 2, 2)).any().item()
    True
    """
    size = like[0].numel()
    uniform = draw(generators, lambda g: torch.rand(size + 2, generator=g), like)
    share = size ** -uniform[:, :1]
    first = F.one_hot((uniform[:, 1] * size).long().clamp_max(size - 1), size).to(torch.bool)
    return ((uniform[:, 2:] < share) | first).view_as(like)


@dataclass(frozen=True)
class Seen:
    """A target whose answers are the margins of its gates ``[B, G]``, for searches that look at them."""

    target: Target

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Outcome:
        """Evaluate every gate."""
        signals = cast(GateSignals, self.target.signals(inputs))
        return Outcome(signals.margins, signals.work, ~allowed(signals))

    def attacker_cost(self, outcome: Outcome) -> Tensor:
        """See :meth:`Target.attacker_cost`."""
        return self.target.attacker_cost(outcome)


def nearest(outcome: Outcome) -> Tensor:
    """Return the least margin of a gate that is open, ``[B]``; infinite if none is, or where there are no gates."""
    margins: Tensor = outcome.outputs
    if margins.shape[1] == 0:
        return margins.new_full((len(margins),), torch.inf)
    return torch.where(margins >= 0, margins, torch.inf).amin(1)
