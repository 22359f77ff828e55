"""Caps on the length of an answer: by number, in a stream, by a stop string, and on reasoning."""

from __future__ import annotations

from typing import Any

from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.probe import CAP, ENOUGH, LONG_PROMPT, NO_STREAMS, Probe
from torpor.targets.endpoint.reply import WORD

STOP_AT = 10
"""Word of the long answer that serves as a stop string."""
THINKING = f"Please think step by step about how to do this well. {LONG_PROMPT}"
BUDGETS: tuple[dict[str, Any], ...] = (
    {"thinking_token_budget": CAP},
    {"reasoning": {"max_tokens": CAP}},
    {"thinking": {"type": "enabled", "budget_tokens": CAP}},
    {"thinking_budget": CAP},
)
"""How servers call a budget of reasoning."""
MOST_THOUGHTS = 256
"""Tokens of an answer whose reasoning is looked at."""


def max_tokens(probe: Probe) -> Finding:
    """Ask for few tokens."""
    return probe.capped("max_tokens", probe.client.chat(LONG_PROMPT, max_tokens=CAP))


def max_completion_tokens(probe: Probe) -> Finding:
    """Ask for few tokens by the newer name."""
    return probe.capped("max_completion_tokens", probe.client.chat(LONG_PROMPT, max_completion_tokens=CAP))


def streaming(probe: Probe) -> Finding:
    """Ask for few tokens in a stream: the cap and the bill are those of a whole answer."""
    if not probe.client.streams:
        return Finding("max_tokens when streaming", Standing.NOT_OFFERED, NO_STREAMS)
    streamed = probe.client.chat(LONG_PROMPT, max_tokens=CAP, stream=True, abort_after=ENOUGH)
    found = probe.capped("max_tokens when streaming", streamed)
    if found.standing is not Standing.HOLDS:
        return found
    whole = probe.client.chat(LONG_PROMPT, max_tokens=CAP)
    if whole.answered and whole.usage != streamed.usage:
        told = f"bills {streamed.usage or 'nothing'}, and {whole.usage or 'nothing'} for the whole answer"
        return Finding(found.limit, Standing.FAILS, told)
    return found


def stop(probe: Probe) -> Finding:
    """Ask to stop at a word that the long answer holds."""
    words = WORD.findall(probe.natural.text)
    if len(words) <= STOP_AT:
        return Finding("stop", Standing.UNOBSERVABLE, f"the long answer has {len(words)} words")
    word = words[STOP_AT]
    reply = probe.client.chat(LONG_PROMPT, stop=[word], stream=True, abort_after=ENOUGH)
    if (unread := probe.unread("stop", reply)) is not None:
        return unread
    if word in WORD.findall(reply.text):
        return Finding("stop", Standing.BYPASSED, f"the stop string {word!r} is in the answer")
    return Finding("stop", Standing.HOLDS, f"the answer ends before {word!r}")


def thinking_budget(probe: Probe) -> Finding:
    """Ask to reason little, by each name that servers have for it."""
    name = "thinking budget"
    free = probe.client.chat(THINKING, max_tokens=MOST_THOUGHTS)
    if free.reasoning_tokens <= 2 * CAP:
        return Finding(
            name, Standing.NOT_OFFERED, f"no more than {free.reasoning_tokens} tokens of reasoning are shown"
        )
    worst: Finding | None = None
    for budget in BUDGETS:
        option = next(iter(budget))
        reply = probe.client.chat(THINKING, max_tokens=MOST_THOUGHTS, **budget)
        if reply.refused:
            continue
        if (unread := probe.unread(name, reply)) is not None:
            return unread
        spent = reply.reasoning_tokens
        if spent <= CAP:
            return Finding(name, Standing.HOLDS, f"{option}: {spent} tokens of reasoning, {CAP} were asked for")
        told = f"{option}: {spent} tokens of reasoning at least, {CAP} were asked for"
        worst = worst or Finding(name, Standing.OVERSHOOTS, told, spent / CAP)
    return worst or Finding(name, Standing.NOT_OFFERED, "every option for it is refused")
