"""A search on one sample that may be ended at any step: what it has found by then is not lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any


class OutOfTime(Exception):  # noqa: N818 - no error: the search hands over the best that it has found
    """The time of a search is over.

    Attributes:
        ran: how many steps each candidate of the run that was ended had run by then, by its number; candidates that
            were still running, or had come to their end, as far as that is known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ran: dict[int, int] = {}


@dataclass(eq=False)
class Stopwatch:
    """Lent to a target that is searched for the sake of one sample; the target tells it what it ran.

    Attributes:
        until: seconds since the epoch after which the search is ended; infinite for never.
        queries: candidates after which the search is ended.
        forwards: candidates that were run since the search began.
        backwards: of these, how many were differentiated.
        best: the costliest candidate since then that counts, a text or a tensor ``[1, ...]``; None for none.
        steps: how long it made the target run.
        worth: its cost; its steps where costs are not known.
        rose: for each candidate that was the costliest until then, the passes by then and its cost, where costs are
            known.
        searches: whether a search is under way.
        bills: what each candidate since then was billed for, in their order, by a target that bills what it is asked.
        known: what the target found, for candidates that come again: whatever it computes from equal ones is equal.
        counts: tells whether a candidate may be handed over; searches also run what they may not send.

    >>> watch = Stopwatch()
    >>> watch.begin(time.time() + 60)
    >>> watch.saw("a", 3, 4.0); watch.saw("b", 5, 6.0); watch.saw("c", 5, 6.0)
    >>> watch.check(); watch.best, watch.forwards, watch.rose
    ('b', 3, [(1, 4.0), (2, 6.0)])
    >>> watch.begin(counts=lambda candidate: candidate != "b")
    >>> watch.saw("a", 3, bill=2.0); watch.saw("b", 5, bill=0.5)
    >>> watch.best, watch.steps, watch.bills
    ('a', 3, [2.0, 0.5])
    """

    until: float = float("inf")
    forwards: int = 0
    backwards: int = 0
    best: Any = None
    steps: int = -1
    worth: float = -1.0
    queries: float = float("inf")
    rose: list[tuple[int, float]] = field(default_factory=list)
    known: dict[Hashable, Any] = field(default_factory=dict)
    counts: Callable[[Any], bool] = lambda candidate: True
    bills: list[float] = field(default_factory=list)
    searches: bool = False
    _paid: set[Hashable] = field(default_factory=set)

    def begin(
        self,
        until: float = float("inf"),
        counts: Callable[[Any], bool] = lambda candidate: True,
        queries: float = float("inf"),
    ) -> None:
        """Begin a search that ends at ``until`` or after ``queries`` candidates; its best is one that ``counts``."""
        self.until, self.forwards, self.backwards = until, 0, 0
        self.best, self.steps, self.worth, self.rose = None, -1, -1.0, []
        self.bills, self._paid = [], set()
        self.counts, self.queries, self.searches = counts, queries, True

    def end(self) -> None:
        """Stop asking for the time."""
        self.until, self.searches = float("inf"), False

    def check(self) -> None:
        """End the search if its time is over, or its candidates are used up.

        Raises:
            OutOfTime: if so.
        """
        if time.time() > self.until or (self.searches and self.left <= 0):
            raise OutOfTime

    @property
    def limited(self) -> bool:
        """Whether a search is under way that may be ended."""
        return self.searches and min(self.until, self.queries) < float("inf")

    @property
    def left(self) -> float:
        """Candidates that may still be run."""
        return self.queries - self.forwards if self.searches else float("inf")

    def missed(self, count: int) -> None:
        """Take note of candidates whose run was ended before anything is known of them."""
        self.forwards += count if self.searches else 0

    def pays(self, request: Hashable) -> bool:
        """Tell whether the search asks for something for the first time, so that it is billed.

        What a search asks twice is remembered. What others asked before is not for free: a search has the same bill
        whatever ran before it.
        """
        if not self.searches or request in self._paid:
            return False
        self._paid.add(request)
        return True

    def saw(
        self,
        candidate: Any,  # noqa: ANN401 - an input of any kind
        steps: int,
        cost: float | None = None,
        bill: float | None = None,
    ) -> None:
        """Take note of a candidate that the target ran, if that was for a search.

        Args:
            candidate: what ran.
            steps: how long.
            cost: of it; None where it is not known of any.
            bill: for what was asked of it; None where nothing is billed.
        """
        if not self.searches:
            return
        self.forwards += 1
        if bill is not None:
            self.bills.append(bill)
        worth = float(steps) if cost is None else cost
        if worth > self.worth and self.counts(candidate):
            self.best, self.steps, self.worth = candidate, steps, worth
            if cost is not None:
                self.rose.append((self.forwards + self.backwards, cost))
