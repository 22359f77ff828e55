"""How an endpoint is asked, as the user writes it after its address: ``openai:URL#model=NAME&cap=64``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, Self
from urllib.parse import parse_qsl, quote, urlsplit

from torpor.core.errors import UsageError
from torpor.core.registry import typed
from torpor.targets.endpoint.address import MARK

CAP = 256
"""Tokens that each answer may have at most, unless the user says otherwise."""
REPEATS = 4
"""How often an input is asked whose answers are sampled: the fewest from which a spread can be told."""


@dataclass(frozen=True)
class EndpointOptions:
    """How a model behind an address is asked.

    Attributes:
        cap: tokens that an answer may have, reasoning included; every request asks for it.
        cap_as: the name by which it does.
        temperature: of sampling; 0 asks for the likeliest answer.
        repeats: how often each input is asked that a row reports, of which the answer of middle length counts; None
            for :data:`REPEATS` where answers are sampled, else once. Candidates of searches are asked once.
        context: tokens that the model reads and writes at most; None if nobody says so.
        api: ``chat`` sends conversations, ``completions`` texts to be continued.
        parallel: requests that are under way at once.
        per_minute: requests at most; None for no limit.
        answer_s: seconds after which an answer is given up.
        timed: whether the report's latency is measured: inputs are then asked many times over.
        tokenizer: folder of the model's tokenizer, with which bills are checked; None if it is not known.
        prices: file with dollars per million tokens; None to count tokens.

    Raises:
        UsageError: if one cannot be.
    """

    cap: int = CAP
    cap_as: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: float = 0.0
    repeats: int | None = None
    context: int | None = None
    api: Literal["chat", "completions"] = "chat"
    parallel: int = 1
    per_minute: float | None = None
    answer_s: float = 300.0
    timed: bool = False
    tokenizer: str | None = None
    prices: str | None = None

    def __post_init__(self) -> None:
        for name, whole in (("cap", self.cap), ("repeats", self.repeats), ("context", self.context)):
            if whole is not None and whole < 1:
                raise UsageError(f"expected {name} of 1 or more, got {whole}; correct it")
        if not 1 <= self.parallel <= 64:
            raise UsageError(f"expected 1 to 64 requests in parallel, got {self.parallel}")
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 10):
            raise UsageError(f"expected a temperature of 0 or more, got {self.temperature}")
        for name, value in (("per_minute", self.per_minute), ("answer_s", self.answer_s)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"expected {name} above 0, got {value}; correct it")

    @classmethod
    def of(cls, name: str) -> Self:
        """Read what follows ``#`` in the name of a target.

        >>> EndpointOptions.of("openai:http://127.0.0.1:8000/v1#model=small&cap=64").cap
        64
        """
        said = dict(parse_qsl(urlsplit(name.removeprefix(MARK)).fragment, keep_blank_values=True))
        return cls(**typed(cls, {key: value for key, value in said.items() if key != "model"}, "the endpoint"))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all options."""
        return tuple(each.name for each in fields(cls))

    @property
    def asked(self) -> int:
        """How often each input is asked that a row reports."""
        return self.repeats or (REPEATS if self.temperature else 1)


def with_endpoint_options(name: str, given: Mapping[str, object]) -> str:
    """Return the name of an endpoint with options added; those that are None or False are left out.

    Raises:
        UsageError: if an option is there already.

    >>> with_endpoint_options("openai:http://[::1]/v1#cap=8", {"model": "a&b", "prices": None})
    'openai:http://[::1]/v1#cap=8&model=a%26b'
    """
    address, _, fragment = name.partition("#")
    said = dict(parse_qsl(fragment, keep_blank_values=True))
    for key, value in given.items():
        if value is None or value is False:
            continue
        if key in said and said[key] != str(value):
            raise UsageError(f"expected one {key}, got {said[key]} after the address and {value}; leave one out")
        if key not in said:
            fragment += f"{'&' * bool(fragment)}{key}={quote(str(value), safe='/.-_~')}"
            said[key] = str(value)
    return f"{address}#{fragment}" if fragment else address
