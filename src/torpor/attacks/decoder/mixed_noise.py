"""Random search for images and sounds: fresh noise, and parts of it in the best so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.balls import apply, ball_of, spent_noise
from torpor.attacks.search.incumbent import Incumbent, random_search
from torpor.core.batches import Samples, draw, sample_generators
from torpor.core.space import DenseSpace
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class MixedNoise(Attack):
    """Noise that spends the budget, as the control draws it; every other query keeps a part of the best so far.

    Which values are drawn anew is drawn too: a share between none and all of them, log-uniform. What costs as much as
    the best so far takes its place.

    Attributes:
        queries: runs of the target at most.
        rivals: what other attacks found for the same batch ``[B, ...]``, tried first; None if there is nothing.
    """

    id: ClassVar[str] = "mixed-noise"
    paper: ClassVar[Paper | None] = None
    access: ClassVar[Access] = Access.DECISION
    kinds: ClassVar[tuple[str, ...]] = ("image", "wave", "features")

    queries: int = 300
    rivals: Tensor | None = field(default=None, compare=False, repr=False)

    @override
    def search(self, target: Target, inputs: Tensor, labels: Samples, seed: int) -> Candidates:
        space, ball = target.space, ball_of(self.budget, target.space)
        assert isinstance(space, DenseSpace)
        generators = sample_generators(inputs, seed, self.id)

        def propose(query: int, rows: Tensor, held: Incumbent) -> Tensor:
            if query == 0 and self.rivals is not None:
                return self.rivals[rows]
            near, own = inputs[rows], [generators[row] for row in rows.tolist()]
            delta = spent_noise(self.budget, space, own, near)
            if query % 2 == 1:
                anew = draw(own, lambda g: _mask(near[0].shape, g), near).bool()
                delta = torch.where(anew, delta, held.inputs[rows] - near)
            return apply(near, delta, ball, self.eps, space)

        most = target.prices.cost(target.max_work(inputs))
        queries = torch.full((len(inputs),), self.queries)
        held = random_search(
            target, inputs, propose, queries, most=most, rank=lambda outcome: torch.zeros(len(outcome.work))
        )
        return Candidates(held.inputs, forwards=held.queries, backwards=held.backwards, curves=held.curves)


def _mask(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw ones in a share of places that is itself drawn, log-uniformly between one place and all."""
    uniform, size = torch.rand(shape, generator=generator), shape.numel()
    return (uniform <= size ** -torch.rand((), generator=generator)).to(torch.float32)
