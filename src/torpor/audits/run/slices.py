"""Time of one sample, shared evenly among the searches on it."""

from __future__ import annotations

import time
from typing import TypeVar

from torpor.attacks.deadline import TimeLimit
from torpor.core.stopwatch import Stopwatch
from torpor.targets.base import Target

AnyTarget = TypeVar("AnyTarget", bound=Target)


class Slices:
    """Deadlines of the searches on one sample: each has its share of what is left when it begins.

    Args:
        until: when all should be done, in seconds since the epoch.
        searches: how many there are.
    """

    def __init__(self, until: float, searches: int) -> None:
        self.until, self.left, self.stopwatch = until, searches, Stopwatch()

    def next(self) -> TimeLimit:
        """Return the deadline of the search that begins now."""
        now = time.time()
        share = max(0.0, self.until - now) / max(1, self.left)
        self.left -= 1
        return TimeLimit(now + share, self.stopwatch)

    def on(self, target: AnyTarget) -> AnyTarget:
        """Return the target that remembers what it ran for this sample."""
        return TimeLimit(self.until, self.stopwatch).on(target)
