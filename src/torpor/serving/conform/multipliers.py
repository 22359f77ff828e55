"""Options that multiply what one request costs: several answers, and lists of alternatives."""

from __future__ import annotations

from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.probe import CAP, LONG_PROMPT, SHORT_PROMPT, Probe
from torpor.targets.endpoint.reply import Reply

MANY = 256
"""Answers to one request: twice as many as the reference API allows."""
ALTERNATIVES, ALLOWED = 1000, 20
"""Alternatives per token that are asked for, and those that the reference API allows."""


def n(probe: Probe) -> Finding:
    """Ask for two answers, whose tokens count twice, and for far too many."""
    pair = probe.client.chat(LONG_PROMPT, n=2, max_tokens=CAP)
    found = probe.capped("n", pair, most=2 * CAP)
    if found.standing.is_broken:
        return found
    if pair.answered and len(pair.choices) < 2:
        return Finding("n", Standing.NOT_OFFERED, "n=2 gives one answer")
    return _many("n", probe, probe.client.chat(SHORT_PROMPT, n=MANY, max_tokens=1))


def best_of(probe: Probe) -> Finding:
    """Ask for the best of far too many answers."""
    return _many("best_of", probe, probe.client.complete(SHORT_PROMPT, best_of=MANY, max_tokens=1))


def _many(name: str, probe: Probe, reply: Reply) -> Finding:
    if reply.refused and reply.status != 429:
        if reply.status == 404:
            return Finding(name, Standing.NOT_OFFERED, "there is no such path")
        return Finding(name, Standing.HOLDS, f"{name}={MANY} is refused: {reply.error}")
    if (unread := probe.unread(name, reply)) is not None:
        return unread
    computed = max(len(reply.choices), 0 if reply.usage is None else reply.usage.output)
    if computed >= MANY:
        told = f"{name}={MANY} is computed: {computed} tokens for a request of 1"
        return Finding(name, Standing.BYPASSED, told, float(computed))
    if name == "best_of":
        told = f"best_of={MANY} is answered, and {computed} tokens are billed: ignored, or not billed"
        return Finding(name, Standing.UNOBSERVABLE, told)
    return Finding(name, Standing.HOLDS, f"{name}={MANY} gives {len(reply.choices)} answers")


def logprobs(probe: Probe) -> Finding:
    """Ask for far too many alternatives per token."""
    reply = probe.client.chat(SHORT_PROMPT, logprobs=True, top_logprobs=ALTERNATIVES, max_tokens=1)
    return _alternatives("logprobs", probe, reply)


def prompt_logprobs(probe: Probe) -> Finding:
    """Ask for far too many alternatives per token of the prompt."""
    reply = probe.client.complete(SHORT_PROMPT, prompt_logprobs=ALTERNATIVES, max_tokens=1)
    return _alternatives("prompt_logprobs", probe, reply)


def _alternatives(name: str, probe: Probe, reply: Reply) -> Finding:
    if reply.refused and reply.status != 429:
        if reply.status == 404:
            return Finding(name, Standing.NOT_OFFERED, "there is no such path")
        return Finding(name, Standing.HOLDS, f"{ALTERNATIVES} alternatives are refused: {reply.error}")
    if (unread := probe.unread(name, reply)) is not None:
        return unread
    listed = max((choice.logprobs for choice in reply.choices), default=0)
    if listed > ALLOWED:
        told = f"{listed} alternatives per token, the reference API allows {ALLOWED}"
        return Finding(name, Standing.OVERSHOOTS, told, listed / ALLOWED)
    if listed == 0:
        return Finding(name, Standing.NOT_OFFERED, "the answer lists none")
    return Finding(name, Standing.HOLDS, f"{listed} alternatives per token of {ALTERNATIVES} that were asked for")
