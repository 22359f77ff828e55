"""How the best so far grew while a search spent passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST = 64
"""Points of the curve of one sample at most; of longer ones, as many are kept, spread evenly, the last among them."""


class Improvement(NamedTuple):
    """A point where the best so far became costlier.

    Attributes:
        passes: forward and backward passes on the sample by then, this one included.
        cost: of the best from here on.
        member: of an ensemble, which found it; empty where there are none.
    """

    passes: int
    cost: float
    member: str = ""


Curve = Sequence[Improvement]
"""Of one sample, in the order of the passes; costs rise from point to point."""


def rising(points: Iterable[Improvement], above: float, to: float, passes: int) -> tuple[Improvement, ...]:
    """Return the points that are costlier than all before them, up to the cost that was verified in the end.

    Args:
        points: what a search says.
        above: cost that any point must exceed: that of the clean input.
        to: cost of what the search found, as verified; where no point says how it came there, it came there last.
        passes: on the sample in all.

    >>> rising([Improvement(1, 2.0), Improvement(4, 5.0), Improvement(6, 4.0)], 2.0, 6.0, 9)
    (Improvement(passes=4, cost=5.0, member=''), Improvement(passes=9, cost=6.0, member=''))
    """
    found, member = list[Improvement](), ""
    for point in points:
        cost, member = min(point.cost, to), point.member
        if cost > (found[-1].cost if found else above):
            found.append(point._replace(cost=cost))
    if to > (found[-1].cost if found else above):
        found.append(Improvement(max(1, passes), to, member))
    return thinned(found)


def thinned(curve: Curve, most: int = MOST) -> tuple[Improvement, ...]:
    """Return at most so many points of a curve, spread evenly, the first and the last among them.

    >>> [point.passes for point in thinned([Improvement(passes, passes) for passes in range(1, 10)], 3)]
    [1, 5, 9]
    """
    if len(curve) <= most:
        return tuple(curve)
    return tuple(curve[round(place * (len(curve) - 1) / (most - 1))] for place in range(most))
