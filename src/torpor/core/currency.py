"""Currencies: what costs are in, and how amounts of them are written."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

_ONE = Fraction(1)
SCALES: Mapping[str, Mapping[str, Fraction]] = {
    "flops": {
        "": _ONE,
        "FLOP": _ONE,
        "FLOPs": _ONE,
        "KFLOPs": Fraction(10**3),
        "MFLOPs": Fraction(10**6),
        "GFLOPs": Fraction(10**9),
        "TFLOPs": Fraction(10**12),
    },
    "seconds": {"s": _ONE, "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6)},
    "joules": {"J": _ONE, "mJ": Fraction(1, 10**3)},
    "bytes": {"B": _ONE, "KiB": Fraction(2**10), "MiB": Fraction(2**20), "GiB": Fraction(2**30)},
    "dollars": {"": _ONE, "USD": _ONE},
    "tokens": {"": _ONE, "tokens": _ONE},
}
"""Units that amounts of a currency may be written in. Where "" is missing, the unit must be written."""
_SYMBOLS = {"flops": "FLOPs", "seconds": "s", "joules": "J", "bytes": "B"}


def scales(currency: str) -> Mapping[str, Fraction]:
    """Return the units that amounts of ``currency`` may be written in; of an unknown one, plain numbers.

    >>> sorted(scales("seconds")), scales("requests")
    (['ms', 's', 'us'], {'': Fraction(1, 1), 'requests': Fraction(1, 1)})
    """
    return SCALES.get(currency, {"": _ONE, currency: _ONE})


def symbol(currency: str) -> str:
    """Return the symbol that follows an amount of a currency.

    >>> symbol("flops"), symbol("tokens")
    ('FLOPs', 'tokens')
    """
    return _SYMBOLS.get(currency, currency)
