"""Values that no client should send, and whether what is billed is what was written."""

from __future__ import annotations

import math

from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.probe import CAP, ENOUGH, LONG_PROMPT, Probe

ODD: tuple[tuple[object, int | None], ...] = (
    (0, 1),
    (-1, CAP),
    ("8", CAP),
    (math.nan, CAP),
    (10**9, None),
    (None, None),
)
"""Odd values of ``max_tokens``, and the tokens that an answer may have nevertheless; None where it means no cap."""


def odd_values(probe: Probe) -> Finding:
    """Send odd values of ``max_tokens``: each is to be refused, or to mean what it says."""
    name, refused = "odd values", 0
    for value, most in ODD:
        reply = probe.client.chat(LONG_PROMPT, max_tokens=value, stream=True, abort_after=ENOUGH)
        if reply.status == 429:
            return Finding(name, Standing.UNOBSERVABLE, f"refused for now: {reply.error or 'too many requests'}")
        if reply.refused:
            refused += 1
            continue
        if reply.wrong.endswith("Timeout"):
            told = f"max_tokens={value!r}: no answer within {probe.client.limits.idle_s:g} s"
            return Finding(name, Standing.UNOBSERVABLE, told)
        if reply.wrong:
            return Finding(name, Standing.FAILS, f"max_tokens={value!r}: got {reply.wrong}")
        if most is not None and reply.least_tokens > most:
            told = f"max_tokens={value!r} gives {reply.least_tokens} tokens at least"
            return Finding(name, Standing.BYPASSED, told, reply.least_tokens / most)
    return Finding(name, Standing.HOLDS, f"{refused} of {len(ODD)} values are refused, the others mean what they say")


def usage(probe: Probe) -> Finding:
    """Compare what a streamed answer bills with what came of it."""
    reply = probe.client.chat(LONG_PROMPT, max_tokens=2 * ENOUGH, stream=True)
    if (unread := probe.unread("usage", reply)) is not None:
        return unread
    if reply.usage is None:
        return Finding("usage", Standing.FAILS, "answers do not tell the tokens that they bill")
    billed, seen = reply.usage.output, reply.seen_tokens
    written = sum(len(each.encode()) for choice in reply.choices for each in (choice.text, choice.reasoning))
    if billed < seen:
        return Finding(
            "usage", Standing.FAILS, f"{billed} tokens are billed, {seen} at least were written", seen / max(billed, 1)
        )
    if billed > written + CAP:
        return Finding("usage", Standing.FAILS, f"{billed} tokens are billed for {written} bytes of text")
    return Finding("usage", Standing.HOLDS, f"{billed} tokens are billed, {seen} at least were written")
