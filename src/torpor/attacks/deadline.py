"""Searches that end when their time is over, or their queries are used up, with the best that they have found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch

from torpor.attacks.search.balls import confine
from torpor.attacks.search.incumbent import Candidates, Improvement
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.stopwatch import OutOfTime, Stopwatch

Search = Callable[[Any, Samples, Samples, int], Candidates]
AnyTarget = TypeVar("AnyTarget", bound=Any)


@dataclass(frozen=True, eq=False)
class TimeLimit:
    """When the search on one sample is ended.

    Attributes:
        until: seconds since the epoch; infinite for no limit.
        stopwatch: that the target looks at; whoever attacks one sample several times lends the same one each time, so
            that nothing is computed twice.
        queries: candidates after which it is ended; None for no limit.
    """

    until: float
    stopwatch: Stopwatch
    queries: int | None = None

    def on(self, target: AnyTarget) -> AnyTarget:
        """Return the target that looks at the stopwatch.

        Args:
            target: which offers ``until``.
        """
        found: AnyTarget = target.until(self.stopwatch)
        return found

    def limits(self, search: Search, budget: Budget) -> Search:
        """Return a search for one sample that is ended in time.

        Args:
            search: of an attack.
            budget: of it; texts that go farther, such as those that find out which words matter, are not handed over.
        """

        def limited(target: Any, inputs: Samples, labels: Samples, seed: int) -> Candidates:  # noqa: ANN401
            watch = self.stopwatch
            most = math.inf if self.queries is None else self.queries
            watch.begin(self.until, partial(_sendable, target, inputs, budget), most)
            try:
                return replace(search(target, inputs, labels, seed), bills=self._bills(target))
            except OutOfTime:
                found = watch.best if isinstance(inputs, torch.Tensor) else (watch.best,)
                best = inputs if watch.best is None else found
                forwards, backwards = (torch.tensor([count]) for count in (watch.forwards, watch.backwards))
                curve = [Improvement(*point) for point in watch.rose]
                return Candidates(best, forwards, backwards, cut_short=True, curves=[curve], bills=self._bills(target))
            finally:
                watch.end()

        return limited

    def _bills(self, target: Any) -> list[list[float]] | None:  # noqa: ANN401
        """Return what the search was billed for each candidate; None unless the target bills all that it is asked."""
        watch = self.stopwatch
        return [watch.bills] if target.elsewhere and len(watch.bills) == watch.forwards else None


def _sendable(target: Any, inputs: Samples, budget: Budget, candidate: Any) -> bool:  # noqa: ANN401
    """Tell whether a candidate for the one input is sent as it is; tensors are projected instead, see ``confine``."""
    if isinstance(candidate, torch.Tensor):
        return True
    (sent,), _ = confine(target.space, inputs, (candidate,), budget)
    return bool(sent == candidate)
