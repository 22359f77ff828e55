"""Pricing: prices that are chosen after an audit, for the units that it counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torpor.core.errors import UsageError
from torpor.core.work import PriceList


class Pricing(ABC):
    """Something that knows what one run of each unit costs: on a device, at a provider, in any currency.

    A plug-in writes a subclass and declares it as an entry point of the group ``torpor.prices``.

    >>> class Bill(Pricing):
    ...     def price_list(self, units, own):
    ...         return PriceList("dollars at 2e-18 a FLOP", tuple(2e-18 * flops for flops in own.per_unit))
    >>> Bill().price_list(["exit0"], PriceList("flops", (1e9,))).per_unit
    (2e-09,)
    """

    @abstractmethod
    def price_list(self, units: Sequence[str], own: PriceList) -> PriceList:
        """Return what each unit costs.

        Args:
            units: names of all units that an audit counted, those of its defenses included; two may have one name.
            own: what the audit itself was priced with, unit by unit.

        Raises:
            UsageError: if some unit has no price.
        """

    def with_clock(self, clock: Mapping[str, Any] | None) -> Self:
        """Return the pricing of an audit that calibrated this; the same unless prices are those of the audit's clock.

        Args:
            clock: of the audit: ``seconds_per_unit`` and how far to believe them, or None.

        Raises:
            UsageError: if the audit's clock gives no prices.
        """
        return self

    @property
    def origin(self) -> str:
        """Where the prices are from, and of which day, for people to read; empty if unknown."""
        return ""


@dataclass(frozen=True)
class Flops(Pricing):
    """FLOPs as the audit itself counted them.

    >>> Flops().price_list(["exit0"], PriceList("flops", (3.0,)))
    PriceList(name='flops', per_unit=(3.0,))
    """

    def price_list(self, units: Sequence[str], own: PriceList) -> PriceList:
        """Return the audit's own prices.

        Raises:
            UsageError: if they are in another currency.
        """
        if own.currency != "flops":
            raise UsageError(f"expected an audit that counted FLOPs, got one in {own.currency}; pass a price file")
        return own
