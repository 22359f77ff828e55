"""Iterates of groups of frames, put together into the videos that they were of at the same step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.detector.frames import Groups
from torpor.attacks.search.incumbent import Candidates, Incumbent
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals
from torpor.core.work import Work
from torpor.targets.base import Target

LOOKS = 8
"""How often whole videos are looked at along the way."""


@dataclass(eq=False)
class Trail:
    """What searches over groups of frames tried at evenly spaced steps, the last one included.

    Attributes:
        steps: of each search.
        parts: for each search, the iterates ``[P, n, C, H, W]`` that are kept.

    >>> sorted(Trail(20).marks)
    [2, 5, 8, 10, 12, 15, 18, 20]
    """

    steps: int
    parts: list[list[Tensor]] = field(default_factory=list)
    _now: int = 0

    @property
    def marks(self) -> set[int]:
        """Steps at which iterates are kept, of 0 to ``steps``."""
        return {round(self.steps * (look + 1) / LOOKS) for look in range(LOOKS)}

    def begin(self) -> None:
        """Begin the next search."""
        self.parts.append([])
        self._now = 0

    def note(self, groups: Tensor) -> None:
        """Take in the next iterate of the search."""
        if self._now in self.marks:
            self.parts[-1].append(groups.detach().clone())
        self._now += 1

    def videos(self, clean: Tensor, frames: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the videos ``[B, T, C, H, W]`` of each mark.

        Args:
            clean: the videos that were attacked.
            frames: numbers of the frames of each group, int64 ``[G, n]``, in the order of the searches.
        """
        for look in range(len(self.marks)):
            videos, left = clean.clone(), iter(self.parts)
            for index in frames:
                rows: list[Tensor] = []
                while sum(map(len, rows)) < len(clean) * len(index):
                    rows.append(next(left)[look])
                videos[:, index] = torch.cat(rows).view(len(clean), *index.shape, *clean.shape[2:])
            yield videos


@dataclass(frozen=True, eq=False)
class TrailedGroups(Groups):
    """Groups whose iterates leave a trail; none ends its search early, so that all are at the same step.

    Attributes:
        trail: what is noted.
    """

    trail: Trail

    @override
    def max_work(self, inputs: Tensor) -> Work:
        return Work(super().max_work(inputs).counts + 1)

    @override
    def signals(self, inputs: Tensor) -> CandidateSignals:
        self.trail.note(inputs)
        return super().signals(inputs)


def by_tracker(target: Target, inputs: Tensor, found: Candidates, trail: Trail, frames: Sequence[Tensor]) -> Candidates:
    """Return the videos of a trail on which what follows objects works most, and count the runs that it took.

    What the searches' curves say is of groups, not of videos, and is left out.

    Args:
        target: runs whole videos.
        inputs: clean videos ``[B, T, C, H, W]``.
        found: what the searches returned.
        trail: their iterates.
        frames: numbers of the frames of each group.

    Raises:
        UsageError: if no unit of the target is of the stage ``tracker``.
    """
    follows = torch.tensor([unit.stage == "tracker" for unit in target.units])
    if not follows.any():
        raise UsageError(
            f"expected a target with units of the stage tracker, got {target.name}; keep iterates by cost or region"
        )
    held, rows = Incumbent.begin(inputs), torch.arange(len(inputs))
    for videos in trail.videos(inputs, frames):
        counts = torch.where(follows, target.run(videos).work.counts.cpu(), 0)
        held.offer(rows, videos, target.prices.cost(Work(counts)))
    return replace(found, inputs=held.inputs, forwards=found.forwards.cpu() + held.queries.cpu(), curves=None)
