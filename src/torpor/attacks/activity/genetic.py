"""Sponge images by a genetic algorithm that watches the cost alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.activity.sponge import PAPER
from torpor.attacks.base import Attack, Candidates
from torpor.attacks.search.balls import BALLS, apply, spent_noise
from torpor.attacks.search.incumbent import Incumbent
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.space import DenseSpace
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target

ELITE = 0.1
"""Share of the pool that survives and has children."""
MUTATION = 0.01
"""Share of a child's pixels that are redrawn."""


@dataclass(frozen=True, kw_only=True)
class SpongeImages(Attack):
    """Evolve a pool of images near each clean one: the costliest tenth has children, which mix the pixels of two.

    Attributes:
        pool: images in a generation.
        epochs: generations.
    """

    id: ClassVar[str] = "sponge-ga"
    paper: ClassVar[Paper | None] = PAPER
    access: ClassVar[Access] = Access.DECISION
    needs: ClassVar[tuple[str, ...]] = ("density",)

    pool: int = 20
    epochs: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool < 4 or self.epochs < 1:
            raise UsageError(
                f"expected a pool of 4 images or more and 1 epoch or more, got {self.pool} and {self.epochs}"
            )

    @override
    def search(self, target: Target, inputs: Tensor, labels: object, seed: int) -> Candidates:
        best = Incumbent.begin(inputs)
        for row, rng in enumerate(sample_generators(inputs, seed, self.id)):
            self._evolve(target, inputs[row : row + 1], torch.tensor([row]), rng, best)
        return Candidates(best.inputs, forwards=best.queries, backwards=best.backwards, curves=best.curves)

    def _evolve(self, target: Target, clean: Tensor, row: Tensor, rng: torch.Generator, best: Incumbent) -> None:
        """Evolve the images of one sample, and keep the costliest."""
        space = target.space
        assert isinstance(space, DenseSpace)
        near = clean.expand(self.pool, *clean.shape[1:])
        changes = self._noise(space, near, rng)
        for _ in range(self.epochs):
            images = apply(near, changes, BALLS[self.norm], self.eps, space)
            costs = target.attacker_cost(target.run(images))
            order = costs.argsort(descending=True, stable=True)
            first = order[:1]
            best.offer(row, images[first.to(images.device)], costs[first], queries=self.pool)
            parents = (images - near)[order[: max(2, round(ELITE * self.pool))].to(images.device)]
            changes = torch.cat([parents, self._children(parents, space, near[len(parents) :], rng)])

    def _children(self, parents: Tensor, space: DenseSpace, near: Tensor, rng: torch.Generator) -> Tensor:
        """Return one child for each image of ``near``: each pixel from either of two parents, a few drawn anew."""
        pairs = torch.stack([torch.randperm(len(parents), generator=rng)[:2] for _ in near]).to(near.device)
        mixed = (torch.rand(near.shape, generator=rng) < 0.5).to(near.device)
        redrawn = (torch.rand(near.shape, generator=rng) < MUTATION).to(near.device)
        found = torch.where(mixed, parents[pairs[:, 0]], parents[pairs[:, 1]])
        return torch.where(redrawn, self._noise(space, near, rng), found)

    def _noise(self, space: DenseSpace, near: Tensor, rng: torch.Generator) -> Tensor:
        return spent_noise(self.budget, space, [rng] * len(near), near)
