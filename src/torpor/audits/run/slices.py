"""Time and queries of one sample, shared among the searches on it by what their passes take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

from torpor.attacks.base import Attack
from torpor.attacks.deadline import TimeLimit
from torpor.attacks.registry import ATTACKS, control_ids
from torpor.audits.run.fronts import Front
from torpor.audits.run.limits import BACKWARD
from torpor.core.space import DenseSpace
from torpor.core.stopwatch import Stopwatch
from torpor.core.threat import Access
from torpor.targets.base import Target

AnyTarget = TypeVar("AnyTarget", bound=Target)


class Slices:
    """Limits of the searches on one sample: each has its share of what is left when it begins.

    Args:
        until: when all should be done, in seconds since the epoch; infinite for no limit.
        shares: of all searches together.
        queries: of all searches together; None for no limit.
    """

    def __init__(self, until: float, shares: int, queries: int | None = None) -> None:
        self.until, self.left, self.queries, self.stopwatch = until, shares, queries, Stopwatch()

    def next(self, attack: Attack | type[Attack], target: Target) -> TimeLimit:
        """Return the limit of the search that begins now; one without a share may use what there is."""
        now, own = time.time(), share(attack, target)
        time_left = max(0.0, self.until - now)
        until = now + time_left * (own / max(own, self.left) if own else 1)
        if self.queries is not None:
            self.queries = max(0, self.queries - self.stopwatch.forwards)
            self.stopwatch.forwards = 0
        queries = None if self.queries is None else int(self.queries * (own / max(own, self.left) if own else 1))
        self.left -= own
        return TimeLimit(until, self.stopwatch, queries)

    def on(self, target: AnyTarget) -> AnyTarget:
        """Return the target that remembers what it ran for this sample."""
        return TimeLimit(self.until, self.stopwatch).on(target)


def share(attack: Attack | type[Attack], target: Target) -> int:
    """Return what a search takes for each candidate that it tries, in forward passes.

    Noise that asks the target nothing takes none. A gradient attack on sounds or images goes backward after each
    forward pass; searches over texts seldom do.
    """
    if attack.access is Access.NONE:
        return 0
    return 1 + BACKWARD if attack.access is Access.WHITE and isinstance(target.space, DenseSpace) else 1


def shares(fronts: Sequence[Front]) -> int:
    """Return what all searches on one sample take together; see :func:`share`.

    Args:
        fronts: the undefended target, with controls, then one with each defense.
    """
    free, *_ = fronts
    found: list[tuple[Any, Target]] = [(attack, front.target) for front in fronts for attack in front.every]
    for budget, _ in free.attacks:
        names = control_ids(budget, by_chance=free.target.family.by_chance)
        found += [(ATTACKS.find(name), free.target) for name in names]
    return sum(share(attack, target) for attack, target in found)
