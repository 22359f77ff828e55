"""Limits on the prompt's length and on time, headers without an end, and whether a server stops when clients leave."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.probe import LONG_PROMPT, NO_STREAMS, SHORT_PROMPT, Probe

SPARE = 64
"""Words by which a prompt is longer than the context."""
STREAMS = 8
"""Answers that run when the server's load is felt."""
SLOWER = 2.0
"""How many times longer a short request must take beside them for that to tell anything."""
NOISE_S = 0.03
"""Seconds that a short request takes more or less, whatever the server does."""
ROUNDS = 3
RUNNING = 24
"""Tokens of each of those answers."""
GRACE = 4.0
"""How many times as long as a short request beside others a server has to notice that its clients have left."""


def context(probe: Probe) -> Finding:
    """Send a prompt that is longer than the context: a word is a token at least."""
    name = "context length"
    told = probe.client.models().get("max_model_len")
    limit = probe.configured.context or (told if isinstance(told, int) and told > 0 else None)
    if limit is None:
        return Finding(name, Standing.NOT_OFFERED, "the server tells none; pass --context")
    reply = probe.client.chat("a " * (limit + SPARE), max_tokens=1)
    if reply.refused and reply.status != 429:
        return Finding(name, Standing.HOLDS, f"a prompt of {limit + SPARE} words is refused: {reply.error}")
    if (unread := probe.unread(name, reply)) is not None:
        return unread
    if reply.usage is None:
        return Finding(name, Standing.UNOBSERVABLE, "the prompt is taken, and nothing is said of its tokens")
    read = reply.usage.prompt
    if read > limit:
        return Finding(name, Standing.OVERSHOOTS, f"{read} tokens are read, {limit} are allowed", read / limit)
    return Finding(name, Standing.HOLDS, f"the prompt is cut to {read} tokens, {limit} are allowed", read / limit)


def headers(probe: Probe) -> Finding:
    """See whether the headers of an answer come to their end, for which a client waits, and send it nowhere else."""
    name, first = "headers", probe.first
    if probe.drips:
        told = f"those of an answer did not come to their end, though byte after byte came: {first.wrong}"
        return Finding(name, Standing.FAILS, told)
    if probe.sends_elsewhere:
        told = f"status {first.status} sends clients to another address, which is not asked; pass it if it is meant"
        return Finding(name, Standing.FAILS, told)
    if first.status is None:
        return Finding(name, Standing.UNOBSERVABLE, f"got {first.wrong or 'none'}")
    return Finding(name, Standing.HOLDS, f"an answer of one token took {first.seconds:.2g} s, its headers included")


def timeout(probe: Probe) -> Finding:
    """Ask for a long answer, and wait for it to be ended."""
    name, limit = "timeout", probe.configured.timeout_s
    if limit is None:
        return Finding(name, Standing.NOT_OFFERED, "none is said to be configured; pass --timeout")
    reply = probe.client.chat(LONG_PROMPT, stream=True)
    if (unread := probe.unread(name, reply)) is not None:
        return unread
    if reply.seconds > 1.1 * limit + 0.5:
        told = f"an answer took {reply.seconds:.3g} s, {limit:g} s are allowed"
        return Finding(name, Standing.OVERSHOOTS, told, reply.seconds / limit)
    if reply.answered and reply.seconds < 0.9 * limit:
        return Finding(name, Standing.UNOBSERVABLE, f"the long answer takes only {reply.seconds:.3g} s")
    return Finding(name, Standing.HOLDS, f"an answer is ended after {reply.seconds:.3g} s", reply.seconds / limit)


def abort(probe: Probe) -> Finding:
    """Hang up on several answers, and see whether the server is still as slow as while it wrote them."""
    name = "client abort"
    if not probe.client.streams:
        return Finding(name, Standing.UNOBSERVABLE, NO_STREAMS)
    idle = _usual(probe)
    with ThreadPoolExecutor(STREAMS) as pool:
        running = [pool.submit(probe.client.chat, LONG_PROMPT, stream=True, max_tokens=RUNNING) for _ in range(STREAMS)]
        time.sleep(idle)
        busy = _usual(probe)
        replies = [each.result() for each in running]
    if not all(reply.answered for reply in replies):
        return Finding(name, Standing.UNOBSERVABLE, "not all of several answers at once came to their end")
    idle = max(idle, _usual(probe))  # a machine that was busy by itself is seen here
    if busy < max(SLOWER * idle, idle + NOISE_S):
        return Finding(
            name,
            Standing.UNOBSERVABLE,
            f"{STREAMS} answers at once do not slow others down: {busy:.2g} s, {idle:.2g} s idle",
        )
    after = []
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(lambda _: probe.client.chat(LONG_PROMPT, stream=True, abort_after=2), range(STREAMS)))
        time.sleep(GRACE * busy)
        after.append(_usual(probe))
    later = min(after)  # of a server that computes on, all of them are slow; on a busy machine, one may be
    times = (
        f"a short answer takes {idle:.2g} s idle, {busy:.2g} s beside {STREAMS} others, {later:.2g} s after hanging up"
    )
    standing = Standing.BYPASSED if later**2 > idle * busy else Standing.HOLDS
    return Finding(name, standing, times if standing is Standing.HOLDS else f"the server computes on: {times}")


def _usual(probe: Probe) -> float:
    return statistics.median(_short(probe) for _ in range(ROUNDS))


def _short(probe: Probe) -> float:
    return probe.client.chat(SHORT_PROMPT, max_tokens=1).seconds
