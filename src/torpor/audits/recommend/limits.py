"""What a cap must achieve: upper limits of cost, in the grammar of gates, and the utility that may be lost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from torpor.audits.verdict.gate import aggregate
from torpor.audits.verdict.gate_grammar import Gate, parse_gate
from torpor.core.errors import DataError, UsageError

METRICS = ("cost", "slowdown")
"""What can be limited: these follow from counts alone, so that recorded work tells them."""
NATURAL = "clean"
"""Selector of a limit that natural inputs must keep; the others are for attacked ones."""
Floats = np.ndarray[Any, np.dtype[np.float64]]
_SHARE = re.compile(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(%?)\s*")


@dataclass(frozen=True)
class CostLimit:
    """An upper limit of what inputs cost together, such as ``p99(cost) < 2x``.

    Attributes:
        gate: as it was parsed.
    """

    gate: Gate

    @property
    def natural(self) -> bool:
        """Whether it is about natural inputs, not about attacked ones."""
        return self.gate.selector == NATURAL

    def value(self, cost: npt.NDArray[np.float64], clean: npt.NDArray[np.float64]) -> float:
        """Return what is limited, in the metric's own unit.

        Args:
            cost: of each input, ``[N]``.
            clean: of the same inputs without attack and cap, ``[N]``.

        >>> parse_limit("p50(cost) < 2x").value(np.array([3.0, 6.0]), np.array([1.0, 2.0]))
        3.0
        """
        gate = self.gate
        found = aggregate(str(gate.aggregate), cost / clean if gate.metric == "slowdown" else cost)
        return found / float(clean.mean()) if gate.over_clean else found

    def require_cost(self, clean: npt.NDArray[np.float64]) -> None:
        """Refuse samples that cost so little that the limit has no meaning.

        Args:
            clean: cost of each sample without attack and cap, ``[N]``.

        Raises:
            DataError: if the limit is over the clean cost, and that is nothing.

        >>> parse_limit("p99(cost) < 2x").require_cost(np.array([0.0, 1.0]))
        """
        least = clean.min() if self.gate.metric == "slowdown" else clean.mean() if self.gate.over_clean else 1.0
        if least <= 0:
            raise DataError(f"expected samples that cost something for {self}, got some without; ask for p99(cost)")

    def share(self, value: float) -> float:
        """Return a value as a share of the limit: above 1 it is exceeded."""
        return value / self.gate.limit if self.gate.limit > 0 else float("inf")

    def __str__(self) -> str:
        return str(self.gate)


def parse_limit(text: str, currency: str = "flops") -> CostLimit:
    """Read a limit as ``torpor check`` reads a gate.

    Args:
        text: such as ``"p99(cost) < 2x"``, of attacked inputs, or ``"clean: p99(cost) < 1.5x"``, of natural ones.
        currency: that costs are in.

    Raises:
        UsageError: if it is no gate, or one that is no upper limit of cost or slowdown.

    >>> str(parse_limit("clean: p99(cost)<1.5x")), parse_limit("max(slowdown) <= 150%").gate.limit
    ('clean: p99(cost) < 1.5x', 1.5)
    """
    gate = parse_gate(text, currency=currency)
    wrong = ""
    if gate.aggregate is None or gate.metric not in METRICS:
        wrong = f"a quantity of {' or '.join(METRICS)}, such as 'p99(cost) < 2x'"
    elif gate.op not in ("<", "<="):
        wrong = "an upper limit, < or <="
    elif gate.selector not in (None, NATURAL) or gate.defense is not None:
        wrong = f"a quantity of every attack, or of natural inputs, '{NATURAL}: ...'"
    elif gate.limit <= 0:
        wrong = "a limit above 0"
    if wrong:
        raise UsageError(f"expected {wrong}, got {text!r}; correct it, or gate an audit by it: torpor check")
    return CostLimit(gate)


def parse_loss(text: str) -> float:
    """Read a loss of utility, such as ``"1%"`` or ``"0.01"``: points of the mean utility.

    Raises:
        UsageError: if it is none from 0 to 1.

    >>> parse_loss("1%"), parse_loss("0.05")
    (0.01, 0.05)
    """
    found = _SHARE.fullmatch(text)
    loss = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= loss <= 1:
        raise UsageError(f"expected a loss of utility from 0% to 100%, such as 1% or 0.01, got {text!r}")
    return loss
