"""The contract of layers: what stands around a target, with units of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Self

import torch

from torpor.core.batches import Samples
from torpor.core.signals import Signals
from torpor.core.space import InputSpace, VideoSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.targets.base import Target

STAGE = "defense"
"""Stage of the units that layers add."""


class Layer(ABC):
    """What stands around a target.

    A target's variations, such as one with a smaller cap, get the same layer: a layer that was fitted to a target keeps
    that target, and looks at inputs with it whatever variation runs.

    Attributes:
        units: what the layer itself runs for one input; their columns follow those of the target inside.
        moves: whether it moves what an input shows before the target inside sees it.
    """

    units: tuple[Unit, ...]
    moves: bool = False

    @abstractmethod
    def run(self, inner: Target, inputs: Samples) -> Outcome:
        """Run as deployed. The work has the columns of ``inner`` and of the layer; see :meth:`charge`."""

    @abstractmethod
    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """Evaluate every unit, differentiably, with the work that :meth:`run` does."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what changes when the layer does."""

    def max_work(self, inner: Target, inputs: Samples) -> Work:
        """Return the static bound of each input."""
        return self.charge(inner.max_work(inputs), self.times(inner.space))

    def least_work(self, inner: Target) -> Work:
        """Return the work ``[1, U]`` of the cheapest path."""
        return self.charge(inner.least_work(), self.times(inner.space))

    def reseeded(self) -> Self:
        """Return the layer that judges attacked inputs: one with another seed, if this one draws at random."""
        return self

    def part(self, name: str) -> Self:
        """Return the layer of a part of the target inside, such as its ``"detector"``."""
        return self

    def to(self, device: torch.device) -> Self:
        """Return the layer of a target on ``device``; by default layers follow their inputs."""
        return self

    def times(self, space: InputSpace) -> int:
        """Return how often each of the layer's units runs at most for one input: once per image."""
        return frames_of(space)

    def calls(self, inputs: Samples) -> Iterator[tuple[list[int], Callable[[], object]]]:
        """Yield what prices the layer's units by the clock: counts, and a call that does just that on ``inputs``."""
        return iter(())

    def charge(self, work: Work, times: int) -> Work:
        """Return the work of the target inside with ``times`` runs of each of the layer's units for each row."""
        own = work.counts.new_full((len(work), len(self.units)), times)
        return Work(torch.cat([work.counts, own], 1))

    def charge_rows(self, inner: Target, found: Signals) -> Work:
        """Return the work of ``found`` with one run of the layer's units per image; of videos, rows may be frames."""
        return self.charge(found.work, self.times(inner.space) if found.rows is None else 1)


def frames_of(space: InputSpace) -> int:
    """Return how many images one input is: the frames of a video, else 1.

    >>> frames_of(VideoSpace((5, 3, 8, 6)))
    5
    """
    return space.shape[0] if isinstance(space, VideoSpace) else 1
