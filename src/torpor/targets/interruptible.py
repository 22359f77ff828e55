"""Targets on which a search may be ended at any step."""

from __future__ import annotations

import copy
from typing import Self

from torpor.core.stopwatch import Stopwatch


class Interruptible:
    """A target that looks at a stopwatch while it runs, and tells it what it ran.

    Attributes:
        stopwatch: of the search under way, if it may be ended; see :meth:`until`.
    """

    stopwatch: Stopwatch | None = None

    def until(self, stopwatch: Stopwatch) -> Self:
        """Return the target for searches that may be ended at any step.

        >>> target, watch = Interruptible(), Stopwatch()
        >>> target.until(watch).stopwatch is watch, target.stopwatch
        (True, None)
        """
        other = copy.copy(self)
        other.stopwatch = stopwatch
        return other
