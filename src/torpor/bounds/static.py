"""Static bounds: what no input can make a target cost, from its structure and caps alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torpor.bounds.base import Bound
from torpor.core.batches import Samples
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.units import symbol
from torpor.core.work import Work
from torpor.targets.base import Target


@dataclass(frozen=True)
class Static(Bound):
    """What structure and caps allow, whatever the input is.

    >>> import torch
    >>> from torpor.targets.early_exit.toys import needle
    >>> toy = needle()
    >>> Static()(toy, torch.zeros(2, 1, 4, 4), None).counts.equal(toy.static_work().counts.expand(2, -1))
    True
    """

    id: ClassVar[str] = "static"
    local: ClassVar[bool] = False
    covers_defended: ClassVar[bool] = True

    def work(self, target: Target, inputs: Samples, budget: Budget | None) -> Work:
        """Return the same for each input."""
        return Work(target.static_work().counts.expand(len(inputs), -1))


@dataclass(frozen=True)
class StaticBound:
    """The worst case of a target.

    Attributes:
        target: its name.
        currency: what costs are in, such as ``"flops"``.
        units: ``(name, cost of one run, most runs per sample)`` of each unit.
        cost: most per sample.
        cost_least: of the cheapest path through the units; see :meth:`Target.least_work`.
        inputs: of which inputs it is a bound, such as ``"text of up to 128 tokens"``; of
            others it does not hold.
    """

    target: str
    currency: str
    units: tuple[tuple[str, float, int], ...]
    cost: float
    cost_least: float
    inputs: str = "input"

    @property
    def slowdown(self) -> float:
        """Most that any input can cost over the cheapest input."""
        return self.cost / self.cost_least


def static_bound(target: Target) -> StaticBound:
    """Return the static bound of a target over all inputs that it accepts.

    Raises:
        UsageError: if the cheapest path costs nothing, so that no cost can be compared with it.

    >>> from torpor.targets.early_exit.toys import needle
    >>> static_bound(needle()).slowdown
    4.0
    """
    most, least = target.static_work(), target.least_work()
    prices = target.prices
    if not prices.cost(least).item() > 0:
        first = target.units[0].name
        raise UsageError(
            f"expected a first unit of {target.name} that costs {symbol(prices.currency)}, got {first} with 0; merge "
            "it with the unit that follows"
        )
    units = zip(target.units, prices.per_unit, most.counts[0].tolist(), strict=True)
    return StaticBound(
        target=target.name,
        currency=prices.currency,
        units=tuple((unit.name, price, count) for unit, price, count in units),
        cost=prices.cost(most).item(),
        cost_least=prices.cost(least).item(),
        inputs=target.space.accepts,
    )
