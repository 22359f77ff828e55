"""What an endpoint counts: tokens of each kind, requests and calls of tools, and the most of each."""

from __future__ import annotations

from torpor.core.units import Unit
from torpor.targets.endpoint.faults import TOLERANCE
from torpor.targets.endpoint.question import Question
from torpor.targets.endpoint.reply import WORD, Reply

UNITS = tuple(
    Unit(name, None)
    for name in ("prompt_token", "uncached_token", "output_token", "reasoning_token", "request", "tool_call")
)
"""Tokens that were not in a cache are among those of the prompt, those of reasoning among those of the output."""
PROMPT, UNCACHED, OUTPUT, REASONING, REQUEST, CALL = range(len(UNITS))
Counts = tuple[int, ...]
"""How often each of :data:`UNITS` ran."""


def counts_of(question: Question, reply: Reply) -> Counts:
    """Return what one answer took: what is billed, or what was seen where that is more.

    >>> from torpor.targets.endpoint.address import Address
    >>> from torpor.targets.endpoint.options import EndpointOptions
    >>> from torpor.targets.endpoint.reply import Choice, Usage
    >>> question = Question.of(Address("http://127.0.0.1/v1", "small"), EndpointOptions(), "Count to four.")
    >>> counts_of(question, Reply(200, (Choice("1 2 3 4"),), Usage(5, 4, cached=3), pieces=4))
    (5, 2, 4, 0, 1, 0)
    """
    usage, words = reply.usage, max(1, len(WORD.findall(question.prompt)))
    billed = 0 if usage is None else usage.output
    # words that one token stands for must not count twice: a bill is believed if it is near what was seen
    output = billed if usage is not None and billed >= TOLERANCE * reply.seen_tokens - 1 else reply.least_tokens
    prompt = words if usage is None or usage.prompt < TOLERANCE * words - 1 else usage.prompt
    cached = 0 if usage is None else min(usage.cached, prompt)
    return prompt, prompt - cached, output, min(reply.reasoning_tokens, output), 1, reply.tool_calls


def most_of(question: Question) -> Counts:
    """Return the most that the caps of a request allow."""
    prompt = question.most_prompt
    return prompt, prompt, question.cap, question.cap, 1, question.most_calls


def either(one: Counts, other: Counts) -> Counts:
    """Return the larger count of each unit.

    >>> either((1, 5), (2, 3))
    (2, 5)
    """
    return tuple(map(max, one, other))
