"""Static bounds: what no input can make a target cost, from its structure and caps alone."""

from __future__ import annotations

from dataclasses import dataclass

from torpor.core.errors import UsageError
from torpor.core.prices import PriceList
from torpor.targets.base import Target


@dataclass(frozen=True)
class StaticBound:
    """The worst case of a target.

    Attributes:
        target: its name.
        units: ``(name, FLOPs of one run, most runs per sample)`` of each unit.
        flops: most FLOPs per sample.
        flops_least: FLOPs of the cheapest path through the units; see :meth:`Target.least_work`.
        inputs: of which inputs it is a bound, such as ``"text of up to 4,096 bytes and 128 tokens"``; of
            others it says nothing.
    """

    target: str
    units: tuple[tuple[str, int, int], ...]
    flops: float
    flops_least: float
    inputs: str = "input"

    @property
    def slowdown(self) -> float:
        """Most that any input can cost over the cheapest input."""
        return self.flops / self.flops_least


def static_bound(target: Target) -> StaticBound:
    """Return the static bound of a target over all inputs that it accepts.

    Raises:
        UsageError: if the cheapest path costs nothing, so that no cost can be compared with it.

    >>> from torpor.targets.toys import needle
    >>> static_bound(needle()).slowdown
    4.0
    """
    most, least = target.static_work(), target.least_work()
    prices = PriceList.flops(target.units)
    if not prices.cost(least).item() > 0:
        raise UsageError(
            f"expected a first unit of {target.name} that costs FLOPs, got {target.units[0].name} with 0; "
            "merge it with the unit that follows"
        )
    units = zip(target.units, most.counts[0].tolist(), strict=True)
    return StaticBound(
        target=target.name,
        units=tuple((unit.name, unit.flops, count) for unit, count in units),
        flops=prices.cost(most).item(),
        flops_least=prices.cost(least).item(),
        inputs=target.space.accepts,
    )
