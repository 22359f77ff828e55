"""How far a text is from another one, counted from the definition and not by the package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from torpor.core.text import Codec


def edits(clean: str, text: str, norm: str, codec: Codec) -> float:
    """Return how much of a budget takes ``clean`` to ``text``."""
    if norm == "chars":
        return least_edits(clean, text)
    if norm == "words":
        return least_edits(clean.split(), text.split())
    before, after = list(codec.encode(clean)), list(codec.encode(text))
    if norm == "tokens":
        return least_edits(before, after)
    if norm == "suffix":
        return len(after) - len(before) if after[: len(before)] == before else float("inf")
    return len(after) if text != clean else 0


def least_edits(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the Levenshtein distance, by its recursion on prefixes."""

    @cache
    def least(one: int, other: int) -> int:
        if one == 0 or other == 0:
            return one + other
        same = least(one - 1, other - 1) + (first[one - 1] != second[other - 1])
        return min(same, least(one - 1, other) + 1, least(one, other - 1) + 1)

    return least(len(first), len(second))
