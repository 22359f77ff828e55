"""Budgets: how far an input may be changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torpor.core.errors import UsageError

NORMS = ("Linf", "L2", "L1")
"""Norms of a change of numbers: pixels in [0, 1], sound in [-1, 1)."""
PATCHES = ("patch", "patch-center")
"""Budgets of a share of an image's area, whose pixels are free: a patch in its top left corner, or in its center."""
PATCH_SHARE = 0.08
"""Share of the area that papers give a patch: 64 x 64 of 224 x 224 pixels."""
COUNTS = ("chars", "tokens", "words", "suffix", "prompt")
"""Counts of edits of a text; ``suffix`` is tokens appended, ``prompt`` tokens of a text of the attacker's own."""
GROWING = ("suffix", "prompt")
"""Those of them that count new tokens, which may be whatever the attacker likes."""


def geometry(norm: str) -> str:
    """Return the norm among :data:`NORMS` whose steps fit a budget: within a patch, each pixel moves for itself.

    >>> geometry("L2"), geometry("patch")
    ('L2', 'Linf')
    """
    return "Linf" if norm in PATCHES else norm


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
    """All inputs near a clean one: a norm ball, a patch whose pixels are free, or the texts within a number of edits.

    Attributes:
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``, a patch: see ``PATCHES``, or a count of edits: see ``COUNTS``.
        eps: radius of the ball, in pixel units of [0, 1] for images; the share of the area that a patch covers at most;
            or the number of edits.

    >>> print(Budget.parse("Linf", "8/255"), Budget.parse("patch", "8%"), sep=", ")
    Linf eps=0.03137, patch eps=0.08
    """

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS + PATCHES + COUNTS:
            raise UsageError(
                f"expected norm {', '.join(NORMS + PATCHES)}, or {', '.join(COUNTS)} for texts, got {self.norm!r}"
            )
        if not (math.isfinite(self.eps) and self.eps > 0):
            raise UsageError(f"expected eps greater than 0, got {self.eps}")
        if self.norm in COUNTS and self.eps != int(self.eps):
            raise UsageError(f"expected a whole number of {self.norm} for eps, got {self.eps:g}")
        if self.norm in PATCHES and self.eps > 1:
            raise UsageError(
                f"expected a share of the area for eps of {self.norm}, at most 1, got {self.eps:g}; write 8% or 0.08"
            )
        if self.norm == "Linf" and self.eps > 1:
            raise UsageError(
                f"expected Linf eps of at most 1 (pixels are in [0, 1]), got {self.eps:g}; write 8/255, not 8"
            )

    def __str__(self) -> str:
        return f"{self.norm} eps={self.eps:.4g}"

    def contains(self, other: Budget) -> bool:
        """Tell whether all inputs within another budget are within this one, as far as norms of one kind tell.

        >>> Budget("L2", 0.5).contains(Budget("L2", 0.25)), Budget("L2", 0.5).contains(Budget("Linf", 0.01))
        (True, False)
        """
        return self.norm == other.norm and self.eps >= other.eps

    @staticmethod
    def parse(norm: str, eps: str | float) -> Budget:
        """Build a budget from ``"8/255"``, ``"0.03125"``, a number or, of a patch, ``"8%"``.

        Raises:
            UsageError: if the norm is unknown or ``eps`` is not a positive number.
        """
        try:
            if norm in PATCHES and isinstance(eps, str) and eps.rstrip().endswith("%"):
                return Budget(norm, float(Fraction(eps.rstrip(" %")) / 100))
            return Budget(norm, float(Fraction(eps)) if "/" in str(eps) else float(eps))
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise UsageError(
                f"expected eps as a number, a fraction such as 8/255 or, of norm {PATCHES[0]}, a share such as 8%, "
                f"got {eps!r}"
            ) from error


_PLACES = {"patch": "patch", "patch-center": "patch in the center"}
"""Patches in words."""

_COUNTED = {
    "chars": ("character", "edited", "at most {} edited", "<= {}"),
    "tokens": ("token", "edited", "at most {} edited", "<= {}"),
    "words": ("word", "edited", "at most {} edited", "<= {}"),
    "suffix": ("token", "appended", "suffix of at most {}", "suffix <= {}"),
    "prompt": ("token", "in the attacker's own text", "prompt of at most {}", "prompt <= {}"),
}
"""Budgets that count: their unit, what is done with it, their name, and their name in a narrow table."""


WORDING = 0.01
"""A radius that differs by less than this share of it is another way to write the same."""

_SCALES = {"wave": "sound in [-1, 1)", "features": "log-mel features"}
"""Scales of inputs other than images."""


def eps_text(norm: str, eps: float) -> str:
    """Return a radius as people write it: Linf in 255ths where it is a whole number of them, areas in per cent.

    >>> eps_text("Linf", 8 / 255), eps_text("Linf", 0.031), eps_text("L2", 0.5), eps_text("patch", 0.08)
    ('8/255', '0.031', '0.5', '8 %')
    """
    if norm in PATCHES:
        return f"{100 * eps:.3g} %"
    levels = eps * 255
    whole = norm == "Linf" and math.isfinite(levels) and round(levels) >= 1 and abs(levels - round(levels)) < 1e-3
    return f"{round(levels)}/255" if whole else f"{eps:.4g}"


def counted(count: float, thing: str) -> str:
    """Return a number of things.

    >>> counted(1, "token"), counted(3, "token"), counted(2.5, "step")
    ('1 token', '3 tokens', '2.5 steps')
    """
    return f"{count:.4g} {thing}{'' if count == 1 else 's'}"


def budget_text(row: Mapping[str, Any], *, short: bool = False) -> str:
    """Return a row's budget in words, and what of it could be spent; ``short`` where there is little room.

    >>> budget_text({"norm": "Linf", "eps": 8 / 255}), budget_text({"norm": None, "eps": None})
    ('Linf 8/255', 'no budget')
    >>> budget_text({"norm": "tokens", "eps": 3.0}), budget_text({"norm": "prompt", "eps": 32.0}, short=True)
    ('at most 3 tokens edited', 'prompt <= 32 tokens')
    >>> budget_text({"norm": "Linf", "eps": 0.03125, "eps_spent": 8 / 255})
    'Linf 8/255'
    >>> budget_text({"norm": "Linf", "eps": 0.1, "eps_spent": 25 / 255})
    'Linf 0.1 (25/255 spent)'
    >>> budget_text({"norm": "patch-center", "eps": 0.02, "eps_spent": 20 / 1024})
    'patch in the center 2 % of the area (1.95 % spent)'
    """
    norm, eps = row.get("norm"), row.get("eps")
    if norm is None or eps is None:
        return "no budget"
    if norm not in _COUNTED:
        name = norm if short else _PLACES.get(norm, norm)
        of = " of the area" if norm in PATCHES and not short else ""
        spent = row.get("eps_spent") or eps
        if abs(spent - eps) <= WORDING * eps:
            return f"{name} {eps_text(norm, spent)}{of}"
        said = f"({eps_text(norm, spent)})" if short else f"({eps_text(norm, spent)} spent)"
        return f"{name} {eps_text(norm, eps)}{of} {said}"
    thing, _, said, shortly = _COUNTED[norm]
    return (shortly if short else said).format(counted(eps, thing))


def edits_text(norm: str, edits: float) -> str:
    """Describe the edits of a text, counted as its budget counts them.

    >>> edits_text("chars", 1), edits_text("suffix", 8)
    ('1 character edited', '8 tokens appended')
    """
    thing, done, *_ = _COUNTED.get(norm, ("edit", "made"))
    return f"{counted(edits, thing)} {done}"


def eps_axis(norm: str, inputs: str | None) -> str:
    """Return the title of an axis of budgets.

    >>> eps_axis("patch", "image")
    'eps (patch, share of the area)'

    >>> eps_axis("Linf", "image"), eps_axis("L2", "wave"), eps_axis("words", "text")
    ('eps (Linf, pixels in [0, 1])', 'eps (L2, sound in [-1, 1))', 'eps (words edited, at most)')
    """
    if norm in PATCHES:
        return f"eps ({_PLACES[norm]}, share of the area)"
    if norm not in _COUNTED:
        return f"eps ({norm}, {scale_of(inputs)})"
    thing, done, *_ = _COUNTED[norm]
    return f"eps ({thing}s {done}, at most)"


def scale_of(inputs: str | None) -> str:
    """Return the scale on which inputs are numbers.

    >>> scale_of(None)
    'pixels in [0, 1]'
    """
    return _SCALES.get(str(inputs), "pixels in [0, 1]")
