"""What came from elsewhere, made fit for a terminal: nothing in it can move, color, hide, reorder or break a line."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text in which every character that is not printable is written as an escape, as Python writes it.

    These are control characters (C0, C1, so escape sequences too), format characters (which turn the direction of
    text, or have no width), line and paragraph separators, and halves of surrogate pairs, which no terminal takes.

    Args:
        text: of any origin.
        lines: whether line breaks and tabs stay.

    >>> print(printable("a\x1b[31m\nb\u202ec"))
    a\x1b[31m\nb\u202ec
    >>> printable("déjà vu 狐 🦊")
    'déjà vu 狐 🦊'
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        character
        if character.isprintable() or character in kept or unicodedata.category(character) == "Zs"
        else repr(character)[1:-1]
        for character in text
    )


def printable_parts(value: Value) -> Value:
    r"""Return a value with every text in it, keys too, on one line and printable.

    >>> printable_parts({"a\n": ["\x07", 1, ("\r",)]})
    {'a\\n': ['\\x07', 1, ('\\r',)]}
    """
    found: object = value
    if isinstance(value, str):
        found = printable(value)
    elif isinstance(value, Mapping):
        found = {printable_parts(key): printable_parts(part) for key, part in value.items()}
    elif isinstance(value, list | tuple):
        found = type(value)(printable_parts(part) for part in value)
    return found  # type: ignore[return-value]
