"""Limits of one key: how many requests are answered at once, and how many dollars it may spend."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.probe import LONG_PROMPT, NO_STREAMS, Probe
from torpor.targets.endpoint.reply import Reply

MORE, MOST = 4, 60
"""Requests at once beyond the limit, and the highest limit that is tried."""
RUNNING = 48
"""Tokens of each of them."""
TOKENS = 150
"""Tokens of one answer that is paid for, at most."""
FAR = 2.0
"""Times the limit at which enough has been spent to show that it does not hold."""


def parallel_requests(probe: Probe) -> Finding:
    """Send more requests at once than may be answered at once, and see how many streams run beside each other."""
    name, limit = "parallel requests", probe.configured.parallel
    if limit is None:
        return Finding(name, Standing.NOT_OFFERED, "no limit is said to be configured; pass --parallel")
    if not probe.client.streams:
        return Finding(name, Standing.UNOBSERVABLE, NO_STREAMS)
    if limit > MOST:
        return Finding(name, Standing.UNOBSERVABLE, f"more than {MOST} requests at once are not tried")
    count = limit + MORE

    def ask(_: int) -> tuple[float, Reply]:
        began = time.monotonic()
        return began, probe.client.chat(LONG_PROMPT, stream=True, max_tokens=RUNNING)

    with ThreadPoolExecutor(count) as pool:
        replies = list(pool.map(ask, range(count)))
    refused = sum(reply.refused for _, reply in replies)
    spans = [
        (began + reply.seconds_first, began + reply.seconds)
        for began, reply in replies
        if reply.answered and reply.pieces > 1
    ]
    beside = at_once(spans)
    if beside > limit:
        told = f"{beside} of {count} requests are answered at once, {limit} are allowed"
        return Finding(name, Standing.OVERSHOOTS, told, beside / limit)
    if refused or beside == limit:
        told = f"{beside} of {count} requests are answered at once, {refused} are refused, {limit} are allowed"
        return Finding(name, Standing.HOLDS, told, beside / limit)
    return Finding(name, Standing.UNOBSERVABLE, f"only {beside} of {count} answers run beside each other")


def at_once(spans: list[tuple[float, float]]) -> int:
    """Return how many spans of time cover one moment, at most.

    >>> at_once([(0.0, 2.0), (1.0, 3.0), (2.5, 4.0)]), at_once([])
    (2, 0)
    """
    return max((sum(first <= start < last for first, last in spans) for start, _ in spans), default=0)


def dollars_per_key(probe: Probe) -> Finding:
    """Send requests until one is refused, or twice the dollars are spent: by the prices given, all that was sent."""
    name, limit, spending = "dollars per key", probe.configured.dollars, probe.client.spending
    if limit is None:
        return Finding(name, Standing.NOT_OFFERED, "no limit is said to be configured; pass --dollars-per-key")
    before, last = spending.spent, 0.0
    while spending.spent <= FAR * limit:
        held = spending.spent
        reply = probe.client.chat(LONG_PROMPT, max_tokens=TOKENS)
        if reply.refused:
            break
        if (unread := probe.unread(name, reply)) is not None:
            return unread
        last = spending.spent - held
        if last <= 0:
            return Finding(name, Standing.UNOBSERVABLE, "an answer costs nothing by the prices given")
        if spending.requests is not None and spending.sent + (FAR * limit - spending.spent) / last > spending.requests:
            told = f"an answer costs ${last:.2g}, too little to spend ${limit:g} in what --max-queries leaves"
            return Finding(name, Standing.UNOBSERVABLE, told)
    else:
        told = f"${spending.spent:.4g} are spent and nothing is refused, ${limit:g} are allowed"
        return Finding(name, Standing.OVERSHOOTS, told, spending.spent / limit)
    spent = spending.spent
    if spent - last > limit:  # the request with which it is passed was sent while something was left
        told = f"refused after ${spent:.4g} were spent, ${limit:g} are allowed"
        return Finding(name, Standing.OVERSHOOTS, told, spent / limit)
    if spent == before:
        return Finding(name, Standing.HOLDS, f"refused at once, after ${spent:.4g} of other checks", spent / limit)
    return Finding(
        name, Standing.HOLDS, f"refused after ${spent:.4g} were spent, ${limit:g} are allowed", spent / limit
    )
