"""Capabilities: what some targets can do and others cannot, whatever their family. Ask by :meth:`Target.offers`.

Each is a typing protocol that defines how a capability is called. A target has it by having its methods, a plug-in's
too; a defended target has those of the target inside. Callers never ask for a class:
``target.offers("rungs", "at_rung")``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.signals import Signals
from torpor.core.text import TextSpace
from torpor.core.work import Work
from torpor.targets.base import Target


class Differentiable(Protocol):
    """Tells what decides its work, so that gradient attacks know where to go."""

    def signals(self, inputs: Samples) -> Signals:
        """Evaluate every unit, differentiably, with the work that a run does."""


class Capped(Protocol):
    """Has caps that can be lowered while it serves: a ladder of targets, each of which can cost less than the last."""

    def rungs(self) -> int:
        """Return how many rungs the ladder has, 1 or more; rung 0 is the target as it is."""

    def at_rung(self, rung: int) -> Target:
        """Return the target at a rung, from 0 to ``rungs() - 1``: no input's static bound is above that of the last.

        Every rung has the units of rung 0, so that work means the same, and gives traces that are read alike.
        """


class Featured(Protocol):
    """Tells what its network sees in an input, for detectors to learn from."""

    def features(self, inputs: Samples) -> Tensor:
        """Return one vector per input, or per frame of each video, ``[R, F]``; differentiable for dense inputs."""


class Embedded(Protocol):
    """Reads text, and shows the vectors of tokens, for attacks that look for words with near ones."""

    @property
    def space(self) -> TextSpace:
        """What it reads."""

    def embedding_matrix(self) -> Tensor:
        """Return the input embedding of every id ``[V, D]``."""


class Scored(Protocol):
    """Scores many candidates that resemble each other faster than it runs them, for searches over discrete inputs."""

    def score(self, candidates: Samples) -> Tensor:
        """Return how much each candidate makes the target do, ``[N]``: decoder steps, as a run counts them."""


class Foreseen(Protocol):
    """Knows the work of many candidates that resemble each other sooner than it runs them, if steps do not tell it."""

    def work_of(self, candidates: Samples) -> Work:
        """Return the work of each candidate, as a run counts it."""


class Foretold(Protocol):
    """Knows the work of an input from the decoder steps that it runs, so that a score is enough to tell its cost."""

    def known_work(self, inputs: Samples, steps: Sequence[int]) -> Work | None:
        """Return the work of inputs that run so many decoder steps each; None if only a run can tell."""


class Probed(Protocol):
    """Can be priced by the clock."""

    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls that do a known work on the one given input, enough of them to price every unit."""
