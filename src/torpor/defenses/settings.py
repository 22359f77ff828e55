"""What follows the colon in a defense's name, and what a defense needs that not everybody has installed."""

from __future__ import annotations

import importlib
from collections.abc import Container
from typing import Any

from torpor.core.errors import UsageError

DIGITS = 10
"""No setting is so long; Python refuses to read numbers of thousands of digits."""


def whole(kind: str, value: str) -> int:
    """Return the whole number that a setting is written as.

    Raises:
        UsageError: if it is none.

    >>> whole("jpeg", "75")
    75
    """
    if not (value.isascii() and value.isdigit() and len(value) < DIGITS):
        raise UsageError(f"expected a whole number after {kind}:, got {value!r}")
    return int(value)


def within(kind: str, what: str, number: int, allowed: Container[int], words: str) -> None:
    """Refuse numbers that a defense does not know.

    Raises:
        UsageError: if ``number`` is not ``allowed``, which ``words`` describe.
    """
    if number not in allowed:
        raise UsageError(f"expected {words} as {what} of {kind}, got {number}")


def library(module: str, package: str, kind: str) -> Any:  # noqa: ANN401 - a module
    """Import what a defense needs.

    Raises:
        UsageError: if ``package`` is not installed.

    >>> library("math", "math", "jpeg").pi > 3
    True
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"expected {package} for {kind}, got {error}; pip install 'torpor[defenses]'") from error
