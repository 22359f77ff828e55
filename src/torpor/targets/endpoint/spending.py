"""What a run against an endpoint may send and spend, counted by what is sure, not by what the server says."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

from torpor.core.errors import TorporError, UsageError
from torpor.targets.endpoint.reply import Reply

REMOTE_REQUESTS, REMOTE_DOLLARS = 1000, 1.0
"""What may be sent to another machine, and spent there, unless the user says otherwise."""


class LimitReachedError(TorporError):
    """A limit of the user's own is reached; nothing more is sent."""


@dataclass(frozen=True)
class TokenPrices:
    """Dollars per million tokens.

    Attributes:
        prompt: for what is read.
        output: for what is written.

    >>> TokenPrices(1.0, 4.0).dollars(1000, 500)
    0.003
    """

    prompt: float = 0.0
    output: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(each) and each >= 0 for each in (self.prompt, self.output)):
            raise UsageError(f"expected prices of 0 or more, got {self.prompt} and {self.output}")

    def dollars(self, prompt: int, output: int) -> float:
        """Return what so many tokens cost."""
        return (prompt * self.prompt + output * self.output) / 1e6


@dataclass
class Spending:
    """Counts what was sent, and refuses to send more than the limits allow.

    A request is booked before it is sent, at no less than what came of it: the larger of what the server bills and of
    what was seen; of an answer without a bill, a token per byte.

    Attributes:
        requests: at most; None for no limit.
        seconds: after which no more is sent; None for no limit.
        dollars: at most; None for no limit. One request, which was sent while there was something left, may pass it.
        prices: of tokens.
        sent: requests so far.
        tokens: prompt and output tokens so far.
        spent: dollars so far.

    >>> from torpor.targets.endpoint.reply import Usage
    >>> spending = Spending(requests=1)
    >>> spending.begin()
    >>> spending.end(8, Reply(200, usage=Usage(2, 5))), spending.tokens
    (None, (2, 5))
    """

    requests: int | None = None
    seconds: float | None = None
    dollars: float | None = None
    prices: TokenPrices = field(default_factory=TokenPrices)
    sent: int = 0
    tokens: tuple[int, int] = (0, 0)
    spent: float = 0.0
    _began: float = field(default_factory=time.monotonic, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self) -> None:
        """Count one more request.

        Raises:
            LimitReachedError: if a limit does not allow it.
        """
        with self._lock:
            if self.requests is not None and self.sent >= self.requests:
                raise LimitReachedError(
                    f"expected at most {self.requests} request{'s' * (self.requests != 1)}, got one more to send; "
                    "raise --max-queries"
                )
            if self.seconds is not None and time.monotonic() - self._began >= self.seconds:
                raise LimitReachedError(
                    f"expected to end after {self.seconds:g} s, got more to send; raise --max-seconds"
                )
            if self.dollars is not None and self.spent >= self.dollars:
                raise LimitReachedError(
                    f"expected to spend at most ${self.dollars:g}, got more to send; raise --max-cost"
                )
            self.sent += 1

    def end(self, prompt_bytes: int, reply: Reply) -> None:
        """Book what came of a request.

        Args:
            prompt_bytes: length of the prompt: no tokenizer makes more tokens of it.
            reply: what came; nothing is booked for what was refused.
        """
        if reply.refused:
            return
        written = sum(len(each.encode()) for choice in reply.choices for each in (choice.text, choice.reasoning))
        prompt = prompt_bytes if reply.usage is None else reply.usage.prompt
        output = written if reply.usage is None else reply.least_tokens
        with self._lock:
            self.tokens = (self.tokens[0] + prompt, self.tokens[1] + output)
            self.spent += self.prices.dollars(prompt, output)
