"""What a run against an endpoint may send and spend, counted by what is sure, not by what the server says."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from torpor.core.errors import LimitReachedError as LimitReachedError
from torpor.core.units import symbol
from torpor.targets.endpoint.prices import TokenPrices
from torpor.targets.endpoint.reply import WORD, Reply

REMOTE_REQUESTS, REMOTE_DOLLARS = 1000, 1.0
"""What may be sent to another machine, and spent there, unless the user says otherwise."""


@dataclass
class Spending:
    """Counts what was sent, and refuses to send more than the limits allow.

    What is under way counts at the most that it can cost, and a request that does not fit beside it waits. What came of
    it is booked at no less than what is sure: the larger of what the server bills and of what was seen; of an answer
    without a bill, a token per byte.

    Attributes:
        requests: at most; None for no limit.
        seconds: after which no more is sent; None for no limit.
        cost: at most, in the currency of ``prices``; None for no limit. One request, which was sent while there was
            something left and nothing else was under way, may pass it.
        prices: of tokens.
        sent: requests so far.
        tokens: prompt and output tokens so far.
        spent: cost so far.

    >>> from torpor.targets.endpoint.reply import Usage
    >>> spending = Spending(requests=1)
    >>> spending.begin()
    >>> spending.end("say yes", Reply(200, usage=Usage(2, 5))), spending.tokens
    (None, (2, 5))
    """

    requests: int | None = None
    seconds: float | None = None
    cost: float | None = None
    prices: TokenPrices = field(default_factory=TokenPrices)
    sent: int = 0
    tokens: tuple[int, int] = (0, 0)
    spent: float = 0.0
    _began: float = field(default_factory=time.monotonic, repr=False)
    _landed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _flying: list[float] = field(default_factory=list, repr=False)

    def within(self, seconds: float | None) -> None:
        """Send nothing more after so many seconds from now."""
        self.seconds, self._began = seconds, time.monotonic()

    def begin(self, most: float = 0.0) -> None:
        """Count one more request, once it fits beside those that are under way.

        Args:
            most: that it can cost if the server keeps to what it is asked for.

        Raises:
            LimitReachedError: if a limit does not allow it.
        """
        with self._landed:
            self._check()
            while self._flying and self.cost is not None and self.spent + sum(self._flying) + most > self.cost:
                self._landed.wait()
                self._check()
            self.sent += 1
            self._flying.append(most)

    def _check(self) -> None:
        if self.requests is not None and self.sent >= self.requests:
            raise LimitReachedError(
                f"expected at most {self.requests} request{'s' * (self.requests != 1)}, got one more to send; "
                "raise --max-queries",
                "queries",
            )
        if self.seconds is not None and time.monotonic() - self._began >= self.seconds:
            raise LimitReachedError(
                f"expected to end after {self.seconds:g} s, got more to send; raise --max-seconds", "seconds"
            )
        if self.cost is not None and self.spent >= self.cost:
            unit = symbol(self.prices.currency)
            raise LimitReachedError(
                f"expected to spend at most {self.cost:g} {unit}, got more to send; raise --max-cost", "cost"
            )

    def end(self, prompt: str, reply: Reply, most: float = 0.0) -> None:
        """Book what came of a request.

        Args:
            prompt: what the model read: no tokenizer makes more tokens of it than bytes, hardly any fewer than words.
            reply: what came; nothing is booked for what was refused.
            most: what :meth:`begin` was told.
        """
        with self._landed:
            if most in self._flying:
                self._flying.remove(most)
            bill = booked(prompt, reply, self.prices)
            self.tokens = (self.tokens[0] + bill.prompt, self.tokens[1] + bill.output)
            self.spent += bill.cost
            self._landed.notify_all()

    def lost(self, most: float) -> None:
        """Book a request of which nothing is known: at the most that it can cost."""
        with self._landed:
            if most in self._flying:
                self._flying.remove(most)
            self.spent += most
            self._landed.notify_all()

    def resumed(self, requests: int, tokens: tuple[int, int], cost: float) -> None:
        """Begin with what earlier runs of the same command have sent."""
        with self._landed:
            self.sent, self.tokens, self.spent = requests, tokens, cost


class Bill(NamedTuple):
    """What a request is booked with.

    Attributes:
        prompt: tokens.
        output: tokens.
        cost: in the currency of the prices.
    """

    prompt: int
    output: int
    cost: float


def booked(prompt: str, reply: Reply, prices: TokenPrices) -> Bill:
    """Return what a request is booked with: nothing, if the server refused it."""
    if reply.refused:
        return Bill(0, 0, 0.0)
    usage = reply.usage
    if usage is None:
        written = sum(len(each.encode()) for choice in reply.choices for each in (choice.text, choice.reasoning))
        read, written, cached = len(prompt.encode()), max(written, reply.pieces), 0
    else:
        read, written, cached = max(usage.prompt, len(WORD.findall(prompt))), reply.least_tokens, usage.cached
    kinds = {"cached": cached, "reasoning": reply.reasoning_tokens, "calls": reply.tool_calls}
    return Bill(read, written, prices.cost(read, written, **kinds))
