"""One request of a log: its text, the tokens that were recorded, and the cap that it was sent with, if it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torpor.data.logs.lines import BrokenLine

UNITS = ("prompt_token", "cached_token", "output_token", "reasoning_token")
"""What recorded tokens count: read anew, read from a cache, written as the answer, written before it."""
MOST = 10**12
"""Tokens that a request can have been recorded with; more is a broken line."""


@dataclass(frozen=True)
class RecordedTokens:
    """Tokens of one request.

    Attributes:
        prompt: tokens read, those from a cache included.
        output: tokens written, those of its reasoning included.
        cached: tokens read that came from a cache.
        reasoning: tokens written before the answer.

    >>> RecordedTokens(10, 7, 4, 5).counts
    (6, 4, 2, 5)
    """

    prompt: int
    output: int
    cached: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        if self.cached > self.prompt or self.reasoning > self.output:
            raise BrokenLine(
                f"expected no more cached and reasoning tokens than tokens read and written, got {self.cached} of "
                f"{self.prompt} and {self.reasoning} of {self.output}"
            )

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """How many of each of :data:`UNITS`."""
        return self.prompt - self.cached, self.cached, self.output - self.reasoning, self.reasoning


@dataclass(frozen=True)
class LoggedRequest:
    """One request.

    Attributes:
        text: the prompt, or a conversation as :mod:`torpor.core.conversation` stores it; None where the log has none.
        tokens: that were recorded; None where the log has none.
        cap: tokens that the answer may have had at most; None where the log does not tell.
    """

    text: str | None = None
    tokens: RecordedTokens | None = None
    cap: int | None = None


def count_of(found: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Return the count under the first of ``names`` that is there; None where none is, or it is null.

    Raises:
        BrokenLine: if it is no whole number from 0 to :data:`MOST`.

    >>> count_of({"output_tokens": "12"}, ["completion_tokens", "output_tokens"])
    12
    """
    name = next((name for name in names if found.get(name) is not None), None)
    return None if name is None else whole(found[name], name)


def whole(value: object, name: str) -> int:
    """Return a count as logs write them: an integer, a float without a fraction, or either in quotes.

    Raises:
        BrokenLine: if it is none from 0 to :data:`MOST`.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(value)
        exact = float(value)  # refuses what is no number
        number = int(exact) if abs(exact) < 2**53 else MOST + 1  # of an infinity or NaN neither
        if number != exact or not 0 <= number <= MOST:
            raise ValueError(value)
    except (ValueError, OverflowError) as error:
        raise BrokenLine(f"expected a count of 0 or more as {name}, got {value!r:.40}") from error
    return number
