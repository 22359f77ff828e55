"""Prices of time: sequential steps, and the seconds that an audit calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.pricing import Pricing
from torpor.core.units import STEP
from torpor.core.work import PriceList


@dataclass(frozen=True)
class SequentialSteps(Pricing):
    """Decoder steps, which run one after the other; everything else is free.

    >>> SequentialSteps().price_list(["encoder", "decoder_step"], PriceList("flops", (9.0, 4.0))).per_unit
    (0.0, 1.0)
    """

    @override
    def price_list(self, units: Sequence[str], own: PriceList) -> PriceList:
        """Return 1 for decoder steps and 0 for all other units.

        Raises:
            UsageError: if there are no decoder steps.
        """
        if STEP not in units:
            raise UsageError(
                f"expected the unit {STEP} to price an audit in steps, got {', '.join(dict.fromkeys(units))}; pass "
                "other prices"
            )
        return PriceList("steps", tuple(float(unit == STEP) for unit in units))


@dataclass(frozen=True)
class Seconds(Pricing):
    """Seconds per unit on the device of the audit, as the audit calibrated them.

    Attributes:
        clock: of the audit; see :meth:`with_clock`.

    >>> clock = {"seconds_per_unit": {"exit0": 0.5}, "price_list": "seconds on cpu", "valid": True, "error": 0.02}
    >>> prices = Seconds().with_clock(clock)
    >>> prices.price_list(["exit0"], PriceList("flops", (9.0,))).per_unit, prices.origin
    ((0.5,), 'calibrated in the audit; they differ from the time of a call by up to 2.0 %')
    """

    clock: Mapping[str, Any] = field(default_factory=dict)

    @override
    def with_clock(self, clock: Mapping[str, Any] | None) -> Self:
        found = clock or {}
        why = str(found.get("reason") or "the audit did not measure time, or an older torpor ran it")
        if not found.get("seconds_per_unit") or found.get("valid") is not True or found.get("error") is None:
            state = "invalid ones" if found.get("seconds_per_unit") else "none"
            raise UsageError(
                f"expected valid seconds per unit in the audit, got {state} ({why}); run the audit again on a quiet "
                "machine, or pass a price file"
            )
        return type(self)(found)

    @override
    def price_list(self, units: Sequence[str], own: PriceList) -> PriceList:
        """Return the calibrated seconds of each unit.

        Raises:
            UsageError: if some unit has none, as those of defenses.
        """
        seconds = self.clock.get("seconds_per_unit") or {}
        if missing := [unit for unit in dict.fromkeys(units) if unit not in seconds]:
            raise UsageError(
                f"expected calibrated seconds of every unit, got none of {', '.join(missing)}; pass a price file that "
                f"has {'it' if len(missing) == 1 else 'them'} too"
            )
        return PriceList(str(self.clock["price_list"]), tuple(float(seconds[unit]) for unit in units))

    @property
    @override
    def origin(self) -> str:
        error = self.clock.get("error")
        if error is None:
            return ""
        return f"calibrated in the audit; they differ from the time of a call by up to {100 * error:.1f} %"
