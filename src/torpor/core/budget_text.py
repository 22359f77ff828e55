"""Budgets in words: radii of norms, numbers of edits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_COUNTED = {
    "chars": ("character", "edited", "at most {} edited", "<= {}"),
    "tokens": ("token", "edited", "at most {} edited", "<= {}"),
    "words": ("word", "edited", "at most {} edited", "<= {}"),
    "suffix": ("token", "appended", "suffix of at most {}", "suffix <= {}"),
    "prompt": ("token", "in the attacker's own text", "prompt of at most {}", "prompt <= {}"),
}
"""Budgets that count: their unit, what is done with it, how they are said, and how a narrow table says them."""


WORDING = 0.01
"""A radius that differs by less than this share of it is another way to write the same."""

_SCALES = {"wave": "sound in [-1, 1)", "features": "log-mel features"}
"""Scales of inputs other than images."""


def eps_text(norm: str, eps: float) -> str:
    """Return a radius as people write it: Linf in 255ths where it is a whole number of them.

    >>> eps_text("Linf", 8 / 255), eps_text("Linf", 0.031), eps_text("L2", 0.5)
    ('8/255', '0.031', '0.5')
    """
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
    """
    norm, eps = row.get("norm"), row.get("eps")
    if norm is None or eps is None:
        return "no budget"
    if norm not in _COUNTED:
        spent = row.get("eps_spent") or eps
        if abs(spent - eps) <= WORDING * eps:
            return f"{norm} {eps_text(norm, spent)}"
        said = f"({eps_text(norm, spent)})" if short else f"({eps_text(norm, spent)} spent)"
        return f"{norm} {eps_text(norm, eps)} {said}"
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

    >>> eps_axis("Linf", "image"), eps_axis("L2", "wave"), eps_axis("words", "text")
    ('eps (Linf, pixels in [0, 1])', 'eps (L2, sound in [-1, 1))', 'eps (words edited, at most)')
    """
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
