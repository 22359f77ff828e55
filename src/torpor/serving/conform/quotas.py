"""Quotas of tokens per minute: sent one after the other, and all at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.probe import LONG_PROMPT, Probe
from torpor.targets.endpoint.reply import Reply

AT_ONCE = 8
TOKENS = 150
"""Tokens of one answer, at most."""
FEW = 200
"""A quota up to this many is also tried as one of requests."""


def tokens_per_minute(probe: Probe) -> Finding:
    """Send requests until one is refused, or twice the quota has passed."""
    name, quota = "tokens per minute", probe.configured.tokens_per_minute
    if quota is None:
        return Finding(name, Standing.NOT_OFFERED, "no quota is said to be configured; pass --tokens-per-minute")
    time.sleep(probe.configured.window_s)  # what other checks have sent counts no longer
    passed, requests, refused = 0, 0, False
    ends = time.monotonic() + probe.configured.window_s
    while not refused and time.monotonic() < ends:
        reply = probe.client.chat(LONG_PROMPT, max_tokens=TOKENS)
        refused = reply.refused
        if not refused:
            passed, requests = passed + _tokens(reply), requests + 1
        if passed > 2 * quota and (quota > FEW or requests > quota):
            break
    allowed = f"{quota} are allowed"
    if passed <= quota and not refused:
        told = f"only {passed} tokens pass within {probe.configured.window_s:g} s, {allowed}"
        return Finding(name, Standing.UNOBSERVABLE, told)
    if passed <= quota:
        return Finding(name, Standing.HOLDS, f"refused after {passed} tokens, {allowed}", passed / quota)
    if refused and requests == quota:
        told = f"{passed} tokens pass, {passed / quota:.4g} times the quota, and request {requests + 1} is refused"
        return Finding(name, Standing.BYPASSED, f"{told}: requests are counted, not tokens", passed / quota)
    return Finding(name, Standing.OVERSHOOTS, f"{passed} tokens pass in {requests} requests, {allowed}", passed / quota)


def parallel(probe: Probe) -> Finding:
    """Send several requests at once that exceed the quota together, in a window of their own."""
    name, quota = "tokens per minute, in parallel", probe.configured.tokens_per_minute
    if quota is None:
        return Finding(name, Standing.NOT_OFFERED, "no quota is said to be configured; pass --tokens-per-minute")
    time.sleep(probe.configured.window_s)
    each = max(1, quota // 2)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(lambda _: probe.client.chat(LONG_PROMPT, max_tokens=each), range(AT_ONCE)))
    passed = sum(_tokens(reply) for reply in replies if reply.answered)
    if passed > quota:
        told = f"{passed} tokens pass in {AT_ONCE} requests at once, {quota} are allowed"
        return Finding(name, Standing.BYPASSED, told, passed / quota)
    if not any(reply.refused for reply in replies):
        return Finding(name, Standing.UNOBSERVABLE, f"{AT_ONCE} requests at once come to only {passed} tokens")
    return Finding(name, Standing.HOLDS, f"{passed} tokens pass at once, {quota} are allowed", passed / quota)


def _tokens(reply: Reply) -> int:
    """Return the tokens of a request at least, its prompt's included."""
    return reply.least_tokens + (0 if reply.usage is None else reply.usage.prompt)
