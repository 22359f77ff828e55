"""Units: the pieces of computation whose counts are a sample's work, and the currencies that they are priced in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from torpor.core.errors import UsageError

STEP = "decoder_step"
"""Name of the unit that runs once per generated token."""

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
PREFIXED: Mapping[str, str] = {
    "FLOPs": "floating-point operations, two per multiply-add",
    "s": "seconds",
    "J": "joules",
    "B": "bytes",
}
"""Symbols that take metric prefixes, in words."""
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
"""Metric prefixes and what they stand for, the largest first."""
_PREFIX_WORDS = {"T": "trillions of ", "G": "billions of ", "M": "millions of ", "k": "thousands of ", "": ""}
_PREFIX_WORDS |= {"m": "thousandths of ", "µ": "millionths of ", "n": "billionths of "}
_SYMBOLS = {"flops": "FLOPs", "seconds": "s", "joules": "J", "bytes": "B"}


class Behavior(StrEnum):
    """What an input can move, after the USENIX Security 2025 study of dynamic deep-learning systems."""

    COMPUTATION = "D1"
    """Computation within one inference: early exit, layer skipping, token pruning, expert routing."""
    ITERATION = "D2"
    """Number of iterations of one inference: decoding until an end token, adaptive solvers."""
    OUTPUT = "D3"
    """Number of outputs handed downstream: candidate boxes, tracks."""


@dataclass(frozen=True)
class Unit:
    """A piece of computation that runs a countable number of times per sample.

    Attributes:
        name: unique within its target.
        flops: floating-point operations of one run, two per multiply-add; None where they are unknown, as of a model
            behind an endpoint: then the target has prices of its own, see :meth:`torpor.targets.Target.price`.
        stage: the part of a pipeline that it belongs to; empty for targets that are one.

    >>> Unit("exit0", flops=1000)
    Unit(name='exit0', flops=1000, stage='')
    """

    name: str
    flops: int | None
    stage: str = ""

    def __post_init__(self) -> None:
        if self.flops is not None and self.flops < 0:
            raise UsageError(f"expected a unit's FLOPs to be 0 or more, got {self.flops} for {self.name!r}")


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


def common_scale(values: Iterable[object], unit: str) -> tuple[float, str]:
    """Return the one divisor and the one unit in which all values of a column or an axis are written.

    >>> common_scale([2.5e6, 1.4e9, None], "FLOPs"), common_scale([12_500.0], "tokens")
    ((1000000000.0, 'GFLOPs'), (1.0, 'tokens'))
    """
    most = max((abs(value) for value in values if isinstance(value, int | float) and math.isfinite(value)), default=0)
    if unit not in PREFIXED or not most:
        return 1.0, unit
    step, prefix = next((pair for pair in PREFIXES if most >= pair[0]), PREFIXES[-1])
    return step, f"{prefix}{unit}"


def unit_words(unit: str) -> str:
    """Return a unit in words.

    >>> unit_words("GFLOPs"), unit_words("ms"), unit_words("tokens")
    ('billions of floating-point operations, two per multiply-add', 'thousandths of seconds', 'tokens')
    """
    for name, said in PREFIXED.items():
        prefix = unit.removesuffix(name)
        if unit.endswith(name) and prefix in _PREFIX_WORDS:
            return f"{_PREFIX_WORDS[prefix]}{said}"
    return unit
