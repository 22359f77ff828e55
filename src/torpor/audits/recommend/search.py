"""The search: attack through as few choices of caps as decide between all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from torpor.audits.recommend.choices import CapChoice
from torpor.audits.recommend.evidence import CapEvidence, CapRecords, CraftedSet, bounded_by
from torpor.audits.recommend.limits import CostLimit, Floats
from torpor.audits.run.limits import LimitReached
from torpor.core.batches import Samples
from torpor.core.errors import LimitReachedError

T = TypeVar("T")
TOLERANCE = 0.05
"""A value that is known within so much, relative, needs no attack of its own."""

Crafter = Callable[[CapChoice], Sequence[Samples]]
"""Attacks through some caps and returns what was crafted, batch by batch; raises LimitReached."""


@dataclass(frozen=True)
class CapTask:
    """What is asked of the caps.

    Attributes:
        limits: upper limits of cost.
        utility_loss: points of the mean utility that may be lost.
    """

    limits: tuple[CostLimit, ...]
    utility_loss: float

    @property
    def attacked(self) -> tuple[CostLimit, ...]:
        """The limits that attacked inputs must keep."""
        return tuple(limit for limit in self.limits if not limit.natural)

    @property
    def shown(self) -> CostLimit:
        """The limit whose quantity is shown, of natural and attacked inputs."""
        return (*self.attacked, *self.limits)[0]


@dataclass(eq=False)
class CapSearch:
    """Brackets what an adaptive attacker gets under each choice of caps, and narrows the brackets that matter.

    Each choice has a lower end, what crafted inputs are known to cost under it, and an upper end: its static bound, or
    what looser caps let through when they were attacked (:func:`bounded_by`). The target without caps is attacked
    first. Then the middle of the longest run of open brackets of a ladder is, until none is open that matters, and at
    last the choice that would be recommended, unless its static bound keeps every limit.

    An upper end is only as good as the attack behind it. So one attack is made through caps at least, and further ones
    as long as what they craft lies above a bracket; none where every choice is at its static bound, as far as the
    limits go, which no attack can exceed.

    Args:
        records: what is known.
        task: what is asked.
        craft: attacks through some caps.
        tell: called with a sentence on what must be known of the result.
        check: called between choices; raises LimitReached.

    Attributes:
        every: what is known of each choice, in the order of the choices.
        sets: what was crafted so far.
        stopped: whether a limit on the run itself ended the search.
        settled: whether the last attack through caps left every bracket where it was.
    """

    records: CapRecords
    task: CapTask
    craft: Crafter
    tell: Callable[[str], None] = lambda text: None
    check: Callable[[], None] = lambda: None
    every: list[CapEvidence] = field(default_factory=list)
    sets: list[CraftedSet] = field(default_factory=list)
    stopped: bool = False
    settled: bool = False

    def run(self, choices: Sequence[CapChoice], *, exhaustive: bool = False) -> None:
        """Measure all choices on natural inputs, and attack those that must be; all of them if ``exhaustive``.

        Args:
            choices: the target without caps first.
            exhaustive: attack through every choice.
        """
        try:
            for choice in choices:
                self.every.append(self.records.measured(choice))
                self.check()
            waiting = iter(self.every)
            while (chosen := next(waiting, None) if exhaustive else self._next()) is not None:
                self._attack(chosen, self.every if exhaustive else self.in_play)
        except (LimitReached, LimitReachedError):  # of this run, or of what an endpoint may be asked
            self.stopped = True

    @property
    def free(self) -> CapEvidence:
        """What is known of the target without caps."""
        return self.every[0]

    def loss(self, one: CapEvidence) -> float:
        """Return the mean utility that is lost."""
        return float(self.free.utility.mean() - one.utility.mean())

    @property
    def in_play(self) -> list[CapEvidence]:
        """The choices that lose no more utility than allowed; the target without caps is always one."""
        slack = 1e-9  # of means
        return [one for one in self.every if self.loss(one) <= self.task.utility_loss + slack]

    def excess(self, one: CapEvidence, costs: Floats | None = None) -> float:
        """Return the largest share of a limit that is used up: above 1, one is exceeded.

        Args:
            one: the choice.
            costs: of attacked inputs; what is known at least if None.
        """
        attacked = one.least if costs is None else costs
        return max(
            limit.share(self._value(limit, one.own if limit.natural else attacked)) for limit in self.task.limits
        )

    def holds(self, one: CapEvidence, costs: Floats | None = None) -> bool:
        """Tell whether every limit is kept; see :meth:`excess`."""
        attacked = one.least if costs is None else costs
        return all(
            limit.gate.holds(self._value(limit, one.own if limit.natural else attacked)) for limit in self.task.limits
        )

    def chosen(self) -> CapEvidence | None:
        """Return the choice in play that keeps every limit and most utility, and of equal ones the cheapest."""
        kept = [one for one in self.in_play if self.holds(one)]
        return min(kept, key=lambda one: (self.loss(one), self.attacked(one), not one.attacked), default=None)

    def nearest(self) -> CapEvidence:
        """Return the choice in play that comes nearest to keeping every limit."""
        return min(self.in_play, key=lambda one: (self.excess(one), self.loss(one)))

    def natural(self, one: CapEvidence) -> float:
        """Return the shown quantity of natural inputs."""
        return self._value(self.task.shown, one.own)

    def attacked(self, one: CapEvidence) -> float:
        """Return the shown quantity of attacked inputs, as far as it is known: at least."""
        return self._value(self.task.shown, one.least)

    def at_most(self, one: CapEvidence) -> float:
        """Return the upper end of the bracket around :meth:`attacked`."""
        return self._value(self.task.shown, one.most)

    def certain(self, one: CapEvidence) -> bool:
        """Tell whether no attack is left to be tried: it was attacked, or its static bound keeps every limit."""
        return one.attacked or self.is_bounded(one)

    def is_bounded(self, one: CapEvidence) -> bool:
        """Tell whether its static bound keeps every limit, whatever attacks find."""
        return self.holds(one, np.full_like(one.least, one.bound))

    def front(self) -> list[CapEvidence]:
        """Return the choices in play that no other one beats: in utility, natural and attacked quantity."""
        return pareto(self.in_play, lambda one: (self.loss(one), self.natural(one), self.attacked(one)))

    def _value(self, limit: CostLimit, costs: Floats) -> float:
        return limit.value(costs, self.records.cost)

    def _attack(self, chosen: CapEvidence, beside: Iterable[CapEvidence]) -> None:
        crafted = self.records.crafted(chosen.choice.name, self.craft(chosen.choice))
        self.sets.append(crafted)
        before = [[self._value(limit, one.most) for limit in self._bracketed] for one in self.in_play]
        self.records.confront(chosen, crafted)
        chosen.attacked = True
        for one in beside:
            if one is not chosen:
                self.check()
                self.records.confront(one, crafted)
        after = [[self._value(limit, one.least) for limit in self._bracketed] for one in self.in_play]
        self.settled = chosen is not self.free and all(
            now <= most * (1 + TOLERANCE)
            for pair in zip(before, after, strict=True)
            for most, now in zip(*pair, strict=True)
        )
        if chosen is not self.free and not self.settled:
            self.tell(
                "An attack through caps found inputs that cost more elsewhere than the attacks there had found: none "
                "of them is at its end, so take a stronger attack or more steps."
            )
        for one in beside:
            one.most = self._most(one)

    def _most(self, one: CapEvidence) -> Floats:
        """Return the upper end of each sample's bracket."""
        if one.attacked:
            return one.least
        found = one.static
        for other in self.every:
            if other.attacked and other.choice.is_looser(one.choice):
                most = bounded_by(one, other)
                if most is None:
                    self.tell(
                        f"{one.choice.name} makes an input costlier than {other.choice.name}, which is looser: what "
                        "one lets through says nothing of the other."
                    )
                else:
                    found = np.minimum(found, most)
            elif other.attacked and other.is_like(one):
                found = np.minimum(found, other.least)
        return np.maximum(found, one.least)

    def _next(self) -> CapEvidence | None:
        """Return the choice to be attacked next; None if nothing is open."""
        if not self.free.attacked:
            return self.free
        open_ = [one for one in self.in_play if not one.attacked and self._is_open(one)]
        return self._run_middle([one for one in open_ if not self._is_beaten(one)]) or self._unverified()

    def _unverified(self) -> CapEvidence | None:
        chosen = self.chosen()
        return self._probe() if chosen is None or self.certain(chosen) else chosen

    def _probe(self) -> CapEvidence | None:
        """Return a choice that shows whether attacks through caps find more; None if that was shown, or none can."""
        if self.settled or all(map(self._is_at_bound, self.in_play)):
            return None
        tried = [one for one in self.every if one.attacked]
        return self._run_middle([one for one in self.in_play if not any(one.is_like(other) for other in tried)])

    def _is_at_bound(self, one: CapEvidence) -> bool:
        """Tell whether an attacker gets what the static bound of any input allows, but for :data:`TOLERANCE`."""
        bound = np.full_like(one.least, one.bound)
        ends = [(self._value(limit, one.least), self._value(limit, bound)) for limit in self._bracketed]
        return all(most <= least * (1 + TOLERANCE) for least, most in ends)

    def _is_open(self, one: CapEvidence) -> bool:
        """Tell whether a bracket is wider than :data:`TOLERANCE`."""
        ends = [(self._value(limit, one.least), self._value(limit, one.most)) for limit in self._bracketed]
        return any(most - least > TOLERANCE * most for least, most in ends)

    @property
    def _bracketed(self) -> tuple[CostLimit, ...]:
        return self.task.attacked or (self.task.shown,)

    def _is_beaten(self, one: CapEvidence) -> bool:
        """Tell whether another choice is as good in everything and better in something, whatever attacks will find."""
        mine = self.loss(one), self.natural(one), self.attacked(one)
        for other in self.in_play:
            its = self.loss(other), self.natural(other), self.at_most(other)
            if other is not one and its != mine and all(a <= b for a, b in zip(its, mine, strict=True)):
                return True
        return False

    def _run_middle(self, open_: Sequence[CapEvidence]) -> CapEvidence | None:
        """Return the middle of the longest run of neighbors among ``open_``; None without any."""
        wanted, runs = set(map(id, open_)), list[list[CapEvidence]]()
        for before, one in zip([None, *self.in_play], self.in_play, strict=False):
            if id(one) not in wanted:
                continue
            follows = before is not None and id(before) in wanted and before.choice.is_looser(one.choice)
            if follows:
                runs[-1].append(one)
            else:
                runs.append([one])
        longest = max(runs, key=len, default=[])
        return longest[len(longest) // 2] if longest else None


def pareto(every: Sequence[T], key: Callable[[T], tuple[float, ...]]) -> list[T]:
    """Return those that no other one beats; smaller is better. Of equal ones the first is returned.

    >>> pareto([(1.0, 3.0), (2.0, 2.0), (2.0, 4.0), (1.0, 3.0)], lambda pair: pair)
    [(1.0, 3.0), (2.0, 2.0)]
    """
    kept: dict[tuple[float, ...], T] = {}
    for one in every:
        kept.setdefault(key(one), one)
    return [
        one
        for mine, one in kept.items()
        if not any(its != mine and all(a <= b for a, b in zip(its, mine, strict=True)) for its in kept)
    ]
