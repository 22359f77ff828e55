"""Whether the time of an audit that has a limit of seconds is enough to measure by the clock, too."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torpor.audits.run.timing import FEWEST, REPEATS
from torpor.data.sets import DataSet
from torpor.meters.threads import measured
from torpor.targets.base import Target

CALLS = 2 * FEWEST * (REPEATS + 2)
"""Runs of samples that the timing of a row takes at least, and about as many as its repetition with a higher cap."""
NO_TIME = "--max-seconds left no time for it"


@dataclass(frozen=True)
class Spare:
    """Time that is left.

    Attributes:
        deadline: seconds since the epoch; None for no limit.
        one: seconds that one clean sample takes.
    """

    deadline: float | None = None
    one: float = 0.0

    @classmethod
    def of(cls, target: Target, data: DataSet, deadline: float | None) -> Spare:
        """Return what is left until ``deadline``; the target is run once to be timed, unless nothing is left."""
        if deadline is None or time.time() > deadline:
            return cls(deadline)
        inputs = target.read(data.load("test", 1).inputs)
        return cls(deadline, measured(lambda: target.run(inputs))[0])

    def leaves(self, seconds: float) -> bool:
        """Tell whether so many seconds are left.

        >>> Spare().leaves(9.0), Spare(deadline=0.0).leaves(9.0)
        (True, False)
        """
        return self.deadline is None or time.time() + seconds <= self.deadline

    def allows(self, slowdown: float) -> bool:
        """Tell whether a row can be measured whose samples take ``slowdown`` times as long as clean ones.

        >>> Spare().allows(9.0), Spare(deadline=0.0).allows(1.0)
        (True, False)
        """
        return self.deadline is None or time.time() + CALLS * self.one * max(1.0, slowdown) <= self.deadline
