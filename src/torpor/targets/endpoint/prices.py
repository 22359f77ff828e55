"""What a provider charges: per million tokens of each kind, per request, and per call of a tool."""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torpor.core.errors import DataError, UsageError
from torpor.core.files import unread

TABLE = "per_million"
"""The table of a price file that holds prices of tokens."""
HEAD = ("name", "date", "source", TABLE)
MILLION = 1e6
MOST = 1e9
"""Price of a million of anything that is still believed."""


@dataclass(frozen=True)
class TokenPrices:
    """Prices of a million tokens of each kind, and of a million requests and calls of tools.

    Attributes:
        prompt: of what is read and was not in a cache.
        output: of what is written.
        cached: of what is read from a cache; that of ``prompt`` if None.
        reasoning: of what is written before the answer; that of ``output`` if None.
        request: of requests.
        tool_call: of calls of tools.
        name: whose first word is the currency.
        date: of the prices.
        source: where they are from.

    Raises:
        UsageError: if one is no price, cached tokens cost more than others, or reasoning costs less than the answer.

    >>> TokenPrices(1.0, 4.0).cost(1000, 500)
    0.003
    """

    prompt: float = 0.0
    output: float = 0.0
    cached: float | None = None
    reasoning: float | None = None
    request: float = 0.0
    tool_call: float = 0.0
    name: str = "dollars"
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for kind in KINDS:
            price = getattr(self, kind)
            if price is not None and not (math.isfinite(price) and 0 <= price <= MOST):
                raise UsageError(f"expected a price of 0 or more for {kind}, got {price}; correct it")
        if self.cached is not None and self.cached > self.prompt:
            raise UsageError(
                f"expected cached tokens to cost at most what others cost, got {self.cached:g} and {self.prompt:g}; "
                "swap them"
            )
        if self.reasoning is not None and self.reasoning < self.output:
            raise UsageError(
                f"expected reasoning to cost at least what the answer costs, got {self.reasoning:g} and "
                f"{self.output:g}; correct them"
            )

    @classmethod
    def tokens(cls) -> Self:
        """Return the prices under which cost is the number of tokens."""
        return cls(MILLION, MILLION, name="tokens")

    @property
    def currency(self) -> str:
        """What costs are in."""
        return self.name.split(" ")[0]

    def of_units(self) -> dict[str, float]:
        """Return the price of one run of each unit of :data:`torpor.targets.endpoint.work.UNITS`.

        Tokens that were not in a cache, and those of reasoning, are among others: their price is what they cost more.

        >>> prices = TokenPrices(1.0, 4.0, cached=0.25).of_units()
        >>> [round(1e6 * price, 2) for price in prices.values()]
        [0.25, 0.75, 4.0, 0.0, 0.0, 0.0]
        """
        cached = self.prompt if self.cached is None else self.cached
        reasoning = self.output if self.reasoning is None else self.reasoning
        whole = {
            "prompt_token": cached,
            "uncached_token": self.prompt - cached,
            "output_token": self.output,
            "reasoning_token": reasoning - self.output,
            "request": self.request,
            "tool_call": self.tool_call,
        }
        return {unit: price / MILLION for unit, price in whole.items()}

    def cost(self, prompt: int, output: int, *, cached: int = 0, reasoning: int = 0, calls: int = 0) -> float:
        """Return what one request costs that reads and writes so many tokens.

        Args:
            prompt: tokens that are read.
            output: tokens that are written.
            cached: of those that are read, from a cache.
            reasoning: of those that are written, before the answer.
            calls: of tools.
        """
        counts = (prompt, max(0, prompt - cached), output, min(reasoning, output), 1, calls)
        return math.fsum(count * price for count, price in zip(counts, self.of_units().values(), strict=True))


KINDS = ("prompt", "output", "cached", "reasoning", "request", "tool_call")


def read_token_prices(path: Path) -> TokenPrices:
    r"""Read a TOML file with a date and the table ``per_million``.

    Raises:
        DataError: if it cannot be read, or holds anything else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "prices.toml")
    ...     _ = path.write_text("date = 2026-11-28\n[per_million]\nprompt = 0.15\noutput = 0.6\n")
    ...     read_token_prices(path).date
    '2026-11-28'
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError covers TOML and UTF-8
        raise DataError(f"expected a price file in {path}, got {unread(error)}; see the page on endpoints") from error
    return token_prices(raw, path)


def token_prices(raw: Mapping[str, Any], path: Path) -> TokenPrices:
    """Return the prices that a price file holds; see :func:`read_token_prices`.

    Args:
        raw: what was read.
        path: of the file, for messages.

    Raises:
        DataError: if it holds anything else.
    """
    if unknown := [key for key in raw if key not in HEAD]:
        raise DataError(f"expected the keys {', '.join(HEAD)} in {path}, got {unknown[0]!r}; remove it")
    table = raw.get(TABLE)
    if not isinstance(table, Mapping):
        raise DataError(
            f"expected a table [{TABLE}] with prompt and output in {path}, got {table!r:.40}; write one: dollars per "
            "million tokens"
        )
    _check_kinds(table, path)
    name, source = raw.get("name", "dollars"), raw.get("source", "")
    if not isinstance(name, str) or name.split(" ")[0] != "dollars" or not isinstance(source, str):
        raise DataError(f"expected a name that begins with 'dollars' and a source in {path}, got {name!r:.40}")
    try:
        return TokenPrices(**table, name=name, date=_day(raw.get("date"), path), source=source)
    except DataError:
        raise
    except UsageError as error:
        raise DataError(f"{error} ({path})") from error


def _check_kinds(table: Mapping[str, Any], path: Path) -> None:
    """Refuse a table that lacks a price, has one of something else, or holds what is no number."""
    if unknown := [key for key in table if key not in KINDS]:
        raise DataError(f"expected {', '.join(KINDS)} in [{TABLE}] of {path}, got {unknown[0]!r}; remove it")
    for kind in KINDS[:2]:
        if kind not in table:
            raise DataError(f"expected a price of {kind} in [{TABLE}] of {path}, got none; add it, even if it is 0")
    for kind, price in table.items():
        if not isinstance(price, int | float) or isinstance(price, bool):
            raise DataError(f"expected a number for {kind} in [{TABLE}] of {path}, got {price!r:.40}; correct it")


def _day(raw: object, path: Path) -> str:
    try:
        if isinstance(raw, datetime.date):
            return raw.strftime("%Y-%m-%d")
        return datetime.date.fromisoformat(str(raw)).isoformat()
    except ValueError:
        raise DataError(f"expected the date of the prices in {path}, such as 2026-11-28, got {raw!r:.40}") from None
