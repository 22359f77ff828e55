"""A target on trial: a few of its inputs, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from torpor.core.batches import Samples, take
from torpor.core.signals import Signals
from torpor.core.space import DenseSpace
from torpor.core.work import Outcome, Work
from torpor.data.sets import Batch
from torpor.targets.base import Target

RANDOM = 4
"""Samples of noise that a dense target is tried on beside its data."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What the checks look at; what takes long is done once.

    Attributes:
        target: on trial.
        batch: samples of its data, as they are stored; None if it is tried on noise alone.
        again: loads the target a second time, by its name; None if it has none.
    """

    target: Target
    batch: Batch | None
    again: Callable[[], Target] | None = None

    @cached_property
    def inputs(self) -> Samples:
        """Valid inputs: of the data, and of dense ones some of noise, all dark and all bright."""
        space, given = (
            self.target.space,
            [] if self.batch is None else [self.target.space.check(self.target.read(self.batch.inputs))],
        )
        if isinstance(space, DenseSpace):
            rng = torch.Generator().manual_seed(0)
            few = 1 if space.kind == "video" else RANDOM
            noise = space.low + (space.high - space.low) * torch.rand(few, *space.shape, generator=rng)
            ends = torch.stack([torch.full(space.shape, value) for value in (space.low, space.high)])
            made = space.snap(torch.cat([noise, ends]).to(torch.float32)).to(self.target.device)
            return torch.cat([*(each.to(made) for each in given), made])
        return space.snap(given[0]) if given else ()

    @property
    def clean(self) -> int:
        """How many of the inputs are the data's own; they come first."""
        return 0 if self.batch is None else len(self.batch)

    @cached_property
    def outcome(self) -> Outcome:
        """What the target makes of all inputs in one batch."""
        return self.target.run(self.inputs)

    @cached_property
    def signals(self) -> Signals:
        """The signals of all inputs."""
        return self.target.signals(self.inputs)

    def one(self, number: int) -> Samples:
        """Return one input as a batch."""
        return take(self.inputs, torch.tensor([number]))

    def each(self) -> Iterator[Samples]:
        """Yield each input as a batch of its own."""
        for number in range(len(self.inputs)):
            yield self.one(number)

    def unit(self, column: int) -> str:
        """Return the name of a column of the work."""
        return self.target.units[column].name

    def where(self, wrong: Tensor, found: Work, wanted: Work, words: tuple[str, str]) -> str:
        """Say where two works differ first: the sample, the unit, and both counts.

        Args:
            wrong: where they do, bool ``[B, U]``.
            found: one of them.
            wanted: the other.
            words: what each of them is called.
        """
        sample, column = (int(each[0]) for each in wrong.nonzero(as_tuple=True))
        of = f"sample {sample}" if sample < self.clean else "an input of noise"
        first, second = (int(work.counts[sample, column]) for work in (found, wanted))
        return f"{of}, unit {self.unit(column)!r}: {words[0]} {first:,}, {words[1]} {second:,}"
