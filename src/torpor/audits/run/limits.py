"""What an audit may spend on its attacks, and what it has spent."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import torch

from torpor.attacks.base import Attack, Candidates
from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.units import scales, symbol
from torpor.targets.base import Target

BACKWARD = 2
"""A backward pass costs about as much as so many forward passes."""
TIMED = 19
"""How many times longer attacks take than timing rows at the end does."""
_AMOUNT = re.compile(r"([+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)")
_SCALES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


@dataclass(frozen=True)
class Spent:
    """What attacks have spent.

    Attributes:
        queries: forward passes, of one sample each.
        cost: of forward and backward passes in the target's currency, each forward pass at its sample's static bound:
            no pass costs more.
        cut_short: searches that were ended before they came to their end.

    >>> Spent(2, 10.0) + Spent(1, 5.0, cut_short=1)
    Spent(queries=3, cost=15.0, cut_short=1)
    """

    queries: int = 0
    cost: float = 0.0
    cut_short: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.queries + other.queries, self.cost + other.cost, self.cut_short + other.cut_short)

    @classmethod
    def on(cls, target: Target, inputs: Samples, found: Candidates) -> Spent:
        """Return what the search for ``found`` spent on a batch of ``inputs``."""
        passes = (found.forwards + BACKWARD * found.backwards).cpu()
        price = target.prices.cost(target.max_work(inputs)).cpu()
        return cls(int(found.forwards.sum()), float((passes * price).sum()), int(found.cut_short))

    @classmethod
    def on_fit(cls, target: Target, attack: Attack) -> Spent:
        """Return what ``attack`` spent on learning, each pass at the static bound of all inputs."""
        state = attack.state()
        forwards, backwards = (int(state.get(name, torch.tensor(0))) for name in ("forwards", "backwards"))
        price = float(target.prices.cost(target.static_work()).item()) if forwards else 0.0
        return cls(forwards, (forwards + BACKWARD * backwards) * price)


@dataclass(frozen=True)
class Extent:
    """How far an audit has come.

    Attributes:
        batches: that are attacked in every way, from the first on.
        samples: in these.
        cut_off: name of the limit that ended it; empty if it has come to the end.
        cut_short: searches in these that were ended before they came to their end.
    """

    batches: int
    samples: int
    cut_off: str = ""
    cut_short: int = 0


@dataclass(frozen=True)
class Course:
    """How far an audit is, in forward passes per sample that its attacks are expected to take.

    Attributes:
        upto: what the rows of one batch before each row take, and what all take.
        batches: how many there are; None if unknown.

    >>> course = Course((0, 100, 101, 140), batches=2)
    >>> course.attacked(1, [2]), course.timed(3), course.total
    (241, 289, 292)
    """

    upto: tuple[int, ...]
    batches: int | None

    @classmethod
    def of(cls, rows: Iterable[int], batches: int | None) -> Course:
        """Return the course of an audit whose rows take so much each in a batch."""
        return cls((0, *accumulate(rows)), batches)

    @property
    def total(self) -> int:
        """All there is to do; 0 if unknown."""
        return 0 if self.batches is None else self.timed(len(self.upto))

    def attacked(self, batches: int, under_way: Iterable[int]) -> int:
        """Return what is done after so many batches, and so many rows of each that is under way."""
        return batches * self.upto[-1] + sum(self.upto[row] for row in under_way)

    def timed(self, rows: int) -> int:
        """Return what is done once all is attacked and so many rows are timed, which takes about a twentieth of all."""
        attacks = (self.batches or 0) * self.upto[-1]
        return attacks + rows * max(1, attacks // (TIMED * len(self.upto)))


@dataclass(frozen=True)
class Limits:
    """What an audit may spend at most; None for no limit.

    Attributes:
        queries: forward passes of all attacks, those on fitting included, over all runs of the audit.
        seconds: wall-clock of one run; repeating the command allows as many again. Where samples are attacked one by
            one and searches can be ended, each sample has its share of what is left.
        cost: of forward and backward passes in the target's currency, over all runs of the audit.
    """

    queries: int | None = None
    seconds: float | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"expected --max-{name} greater than 0, got {value:g}; leave it out for no limit")

    @classmethod
    def of(cls, queries: int | None, seconds: float | None, cost: float | str | None, currency: str) -> Limits:
        """Return the limits that a user gives, a cost perhaps as text.

        Raises:
            UsageError: if one is not above 0, or the cost is not one in this currency.

        >>> Limits.of(None, 60.0, "2 TFLOPs", "flops")
        Limits(queries=None, seconds=60.0, cost=2000000000000.0)
        """
        return cls(queries, seconds, read_cost(cost, currency))

    def reached(self, spent: Spent) -> str:
        """Return the name of the limit that was exceeded; empty if none was.

        >>> Limits(queries=10).reached(Spent(10)), Limits(queries=10).reached(Spent(11))
        ('', 'queries')
        """
        if self.queries is not None and spent.queries > self.queries:
            return "queries"
        return "cost" if self.cost is not None and spent.cost > self.cost else ""

    def allow_more(self, name: str, value: float) -> bool:
        """Tell whether an audit that was cut off when its limit ``name`` was ``value`` may resume under these.

        >>> [Limits(queries=queries).allow_more("queries", 10) for queries in (10, 11, None)]
        [False, True, True]
        """
        own = getattr(self, name)
        return name == "seconds" or own is None or own > value

    def shared(self, *, of_each: bool) -> dict[str, float]:
        """Return the limits of which the searches on each sample have a share.

        Args:
            of_each: whether they share queries and cost, too.

        >>> Limits(queries=100).shared(of_each=True), Limits(seconds=60.0).shared(of_each=False)
        ({'seconds': 0.0, 'queries': 100}, {'seconds': 60.0})
        """
        others = {"queries": self.queries, "cost": self.cost} if of_each else {}
        return {"seconds": self.seconds or 0.0} | {name: value for name, value in others.items() if value is not None}

    def longer_than(self, cut_short: Mapping[str, Any]) -> bool:
        """Tell whether searches that were ended at their share of what :meth:`shared` returned may take longer now.

        >>> Limits(queries=200).longer_than({"seconds": 0.0, "queries": 100})
        True
        """
        shared = [name for name in ("queries", "cost") if cut_short.get(name) is not None]
        more_time = self.seconds is None or self.seconds > cut_short["seconds"]
        if not shared:
            return more_time
        return any(self.allow_more(name, cut_short[name]) for name in shared) or (
            cut_short["seconds"] > 0 and more_time
        )


class LimitReached(Exception):  # noqa: N818 - no error: the audit sums up what it has
    """A limit was reached between two attacks; the batch under way is given up.

    Args:
        name: of the limit: a field of :class:`Limits`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def check_time(deadline: float | None) -> None:
    """Stop if it is later than ``deadline``, seconds since the epoch.

    Raises:
        LimitReached: if so.
    """
    if deadline is not None and time.time() > deadline:
        raise LimitReached("seconds")


def parse_cost(text: str, currency: str = "flops") -> float:
    """Read a cost such as ``"2e12"``, ``"2 TFLOPs"`` or ``"2T"``.

    Args:
        text: what the user typed.
        currency: of the target; amounts of another one are refused.

    Raises:
        UsageError: if it is no number, or one of another currency.

    >>> parse_cost("2 TFLOPs"), parse_cost("2e12"), parse_cost("1.5G")
    (2000000000000.0, 2000000000000.0, 1500000000.0)
    >>> parse_cost("20 ktokens", "tokens")
    20000.0
    """
    own = symbol(currency)
    units = {f"{prefix}{own}": scale for prefix, scale in _SCALES.items()} | _SCALES
    units |= {"": 1.0, own: 1.0} | {unit: float(scale) for unit, scale in scales(currency).items()}
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2] not in units:
        raise UsageError(f"expected a cost such as 2e12 or '2 T{own}', got {text!r}")
    return float(found[1]) * units[found[2]]


def read_cost(cost: float | str | None, currency: str) -> float | None:
    """Return a cost that is given as a number or as :func:`parse_cost` takes it; None stays None.

    >>> read_cost("2 TFLOPs", "flops"), read_cost(5, "flops"), read_cost(None, "flops")
    (2000000000000.0, 5, None)
    """
    return parse_cost(cost, currency) if isinstance(cost, str) else cost
