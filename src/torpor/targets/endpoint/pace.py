"""How fast an endpoint is asked, and what is asked again: requests per minute, and retries by the class of error."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from torpor.core.errors import MeterError
from torpor.targets.endpoint.reply import Reply

RETRIES = 4
"""How often a request is sent again."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
"""Wait before the first retry, doubled before each further one; a server that names a time is given as much."""
FOR_GOOD = (401, 403, 404, 405)
"""Statuses of a server that takes no request of this kind: nothing more is sent."""
FOR_NOW = (408, 409, 425, 429)
"""Statuses of a request that may be taken later."""
UNREACHED = ("ConnectError", "ConnectTimeout", "ReadError", "WriteError", "RemoteProtocolError", "WriteTimeout")
"""What the network does to a request."""


@dataclass
class Pace:
    """Lets as many requests pass per minute as are allowed, evenly.

    Attributes:
        per_minute: of them; None for no limit.

    >>> Pace(None).wait()
    """

    per_minute: float | None = None
    _next: float = field(default=0.0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def wait(self) -> None:
        """Wait for the turn of one request."""
        if self.per_minute is None:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60 / self.per_minute
        time.sleep(turn - now)


def passes(reply: Reply) -> bool:
    """Tell whether the same request may be answered if it is sent again.

    >>> passes(Reply(429)), passes(Reply(503, wrong="status 503")), passes(Reply(400)), passes(Reply(200))
    (True, True, False, False)
    """
    if reply.status in FOR_NOW or (reply.status is not None and reply.status >= 500):
        return True
    nothing = not any(choice.text or choice.reasoning for choice in reply.choices)
    return reply.wrong in UNREACHED and nothing


def wait_s(reply: Reply, attempt: int) -> float:
    """Return the seconds to wait before a retry.

    >>> wait_s(Reply(503), 2), wait_s(Reply(429, retry_after_s=7.0), 0), wait_s(Reply(429, retry_after_s=9999.0), 0)
    (2.0, 7.0, 60.0)
    """
    own: float = FIRST_WAIT_S * 2**attempt
    return min(LONGEST_WAIT_S, own if reply.retry_after_s is None else max(own, reply.retry_after_s))


def stop_unless_taken(reply: Reply, url: str, model: str) -> None:
    """End a run whose server takes no requests, or cannot be reached.

    Raises:
        MeterError: if so.
    """
    again = "the same command resumes where it stopped"
    if reply.status in FOR_GOOD:
        raise MeterError(
            f"expected an answer of {model} from {url}, got status {reply.status}: {reply.error or 'no reason'}; see "
            "the address, the model's name and the key"
        )
    if reply.status in FOR_NOW:
        raise MeterError(
            f"expected an answer of {model} from {url}, got status {reply.status} to {1 + RETRIES} requests: "
            f"{reply.error or 'no reason'}; ask less per minute, or later: {again}"
        )
    if reply.status is None and reply.wrong in UNREACHED:
        raise MeterError(
            f"expected an answer from {url}, got {reply.wrong} to {1 + RETRIES} requests; see whether it runs: {again}"
        )
