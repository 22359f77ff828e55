"""The errors that torpor raises on purpose. Each message reads "expected X, got Y; do Z"."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TorporError(Exception):
    """Base of every error that torpor raises on purpose."""


class UsageError(TorporError):
    """The caller asked for something impossible; the command line answers with exit code 2."""


class DataError(UsageError):
    """Input data are missing, corrupt, or of the wrong shape."""


class DefenseError(UsageError):
    """A defense could not be fitted.

    Attributes:
        defense: its name.
        reason: why not, in words.
    """

    def __init__(self, defense: str, reason: str) -> None:
        super().__init__(f"{defense}: {reason}")
        self.defense, self.reason = defense, reason

    def __reduce__(self) -> tuple[type[DefenseError], tuple[str, str]]:
        """Return how to rebuild it: workers send errors to the driver."""
        return type(self), (self.defense, self.reason)


class MeterError(TorporError):
    """Something cannot be measured honestly, such as an operator without a FLOP formula."""


class LimitReachedError(TorporError):
    """A limit of the user's own is reached; nothing more is sent.

    Attributes:
        limit: its name: `queries`, `seconds` or `cost`.
    """

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit

    def __reduce__(self) -> tuple[type[LimitReachedError], tuple[str, str]]:
        """Return how to rebuild it: workers send errors to the driver."""
        return type(self), (str(self), self.limit)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names the known name nearest to a wrong one, and a space; nothing if none is near.

    >>> did_you_mean("sdn-digit", ["sdn-digits", "speller"]), did_you_mean("x", ["speller"])
    ('did you mean sdn-digits? ', '')
    """
    near = get_close_matches(name.lower(), list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""
