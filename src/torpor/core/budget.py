"""Budgets: how far an input may be changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from torpor.core.errors import UsageError

NORMS = ("Linf", "L2", "L1")
"""Norms of a change of numbers: pixels in [0, 1], sound in [-1, 1)."""
COUNTS = ("chars", "tokens", "words", "suffix", "prompt")
"""Counts of edits of a text; ``suffix`` is tokens appended, ``prompt`` tokens of a text of the attacker's own."""
GROWING = ("suffix", "prompt")
"""Those of them that count new tokens, which may say whatever the attacker likes."""


def whole_levels(eps: float, levels: int) -> int:
    """Return by how many whole levels an Linf radius lets a number change that is stored in steps of ``1 / levels``.

    A radius that falls short of a level by at most a hundredth of it, and by a twentieth of one step, is that level:
    0.03125 is how papers write 8/255. Any other radius is cut to the level below, since nothing between can be sent.

    >>> whole_levels(0.03125, 255), whole_levels(7.5 / 255, 255), whole_levels(0.1, 255), whole_levels(0.9 / 255, 255)
    (8, 7, 25, 0)
    """
    above = math.floor(eps * levels) + 1
    return above if above - eps * levels <= min(above / 100, 0.05) else above - 1


@dataclass(frozen=True)
class Budget:
    """All inputs near a clean one: a norm ball, or the texts within a number of edits.

    Attributes:
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``, or a count of edits: see ``COUNTS``.
        eps: radius of the ball, in pixel units of [0, 1] for images; or the number of edits.

    >>> print(Budget.parse("Linf", "8/255"))
    Linf eps=0.03137
    """

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS + COUNTS:
            raise UsageError(f"expected norm {', '.join(NORMS)}, or {', '.join(COUNTS)} for texts, got {self.norm!r}")
        if not (math.isfinite(self.eps) and self.eps > 0):
            raise UsageError(f"expected eps greater than 0, got {self.eps}")
        if self.norm in COUNTS and self.eps != int(self.eps):
            raise UsageError(f"expected a whole number of {self.norm} for eps, got {self.eps:g}")
        if self.norm == "Linf" and self.eps > 1:
            raise UsageError(
                f"expected Linf eps of at most 1 (pixels are in [0, 1]), got {self.eps:g}; write 8/255, not 8"
            )

    def __str__(self) -> str:
        return f"{self.norm} eps={self.eps:.4g}"

    @staticmethod
    def parse(norm: str, eps: str | float) -> Budget:
        """Build a budget from ``"8/255"``, ``"0.03125"`` or a number.

        Raises:
            UsageError: if the norm is unknown or ``eps`` is not a positive number.
        """
        try:
            return Budget(norm, float(Fraction(eps)) if "/" in str(eps) else float(eps))
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise UsageError(f"expected eps as a number or a fraction such as 8/255, got {eps!r}") from error
