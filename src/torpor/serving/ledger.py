"""What is spent of a limit: runs are booked at their static bound before, and at their cost once that is known."""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Real

from torpor.core.errors import TorporError, UsageError


class QuotaError(TorporError):
    """A quota does not allow a run, not even of the target with its smallest caps. Nothing was computed.

    Attributes:
        retry_after_s: when it will; None if it never will.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def limit_of(name: str, value: object, *, whole: bool = False) -> float | None:
    """Return a limit that can be held; None for no limit.

    Raises:
        UsageError: if it is not a finite number above 0, or not a whole one where it must be.

    >>> limit_of("FLOPs", 256), limit_of("FLOPs", None)
    (256.0, None)
    """
    if value is None:
        return None
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf or (whole and not number.is_integer()):
        kind = "whole number" if whole else "finite number"
        raise UsageError(f"expected a {kind} above 0 as the quota of {name}, got {value!r}; None is no limit")
    return number


def cost_of(name: str, value: float) -> Fraction:
    """Return a cost that can be booked.

    Raises:
        UsageError: if it is not a finite number of 0 or more.
    """
    if not 0 <= value < math.inf:
        raise UsageError(f"expected a finite cost of 0 or more {name}, got {value}; fix the target's units or bound")
    return Fraction(value)


class Ledger:
    """A sum that rounds nothing, so that what was booked and given back leaves no trace; not locked.

    Args:
        limit: at most; None for no limit.

    >>> ledger = Ledger(10.0)
    >>> ledger.book(Fraction(7))
    >>> ledger.fits(Fraction(4)), ledger.left
    (False, 3.0)
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.spent = Fraction(0)

    @property
    def left(self) -> float:
        """What may be booked, 0 or more; infinite without a limit."""
        return math.inf if self.limit is None else max(0.0, float(Fraction(self.limit) - self.spent))

    def fits(self, cost: Fraction) -> bool:
        """Whether ``cost`` may be booked."""
        return self.limit is None or self.spent + cost <= Fraction(self.limit)

    def book(self, cost: Fraction) -> None:
        """Add ``cost``; less than 0 to give back."""
        self.spent += cost
