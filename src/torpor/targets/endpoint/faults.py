"""What is wrong with an answer: none came, it broke off, its bill is not what was seen, it is longer than asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from torpor.targets.endpoint.question import Question
from torpor.targets.endpoint.recount import recounted
from torpor.targets.endpoint.reply import WORD, Reply

TOLERANCE = 0.9
"""Share of the words, or of the parts of a stream, that a bill may fall short of: some words are no tokens."""
SPARE = 16
"""Tokens that may be billed for an answer beside one for each of its bytes, such as the one that ends it."""


class FaultKind(StrEnum):
    """What kind of fault it is."""

    UNANSWERED = "unanswered"
    BROKEN = "broken"
    MISBILLED = "misbilled"
    OVERSHOT = "overshot"


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with an answer.

    Attributes:
        kind: of fault.
        told: what was seen, in words.
    """

    kind: FaultKind
    told: str


def unanswered(reply: Reply) -> bool:
    """Tell whether nothing came that counts as an answer.

    >>> unanswered(Reply(500, wrong="status 500"))
    True
    """
    said = any(choice.text or choice.reasoning or choice.tool_calls for choice in reply.choices)
    return not said and not (reply.answered and reply.choices)


def faults_of(question: Question, reply: Reply) -> tuple[Fault, ...]:
    """Return what is wrong with an answer; nothing of a good one.

    >>> from torpor.targets.endpoint.address import Address
    >>> from torpor.targets.endpoint.options import EndpointOptions
    >>> from torpor.targets.endpoint.reply import Choice, Usage
    >>> question = Question.of(Address("http://127.0.0.1/v1", "small"), EndpointOptions(cap=8), "Count to four.")
    >>> faults_of(question, Reply(200, (Choice("1 2 3 4"),), Usage(5, 4), pieces=4))
    ()
    >>> faults_of(question, Reply(200, (Choice("1 2 3 4"),), Usage(5, 1), pieces=4))[0].told
    '1 token billed for an answer of 4 at least'
    """
    if unanswered(reply):
        why = reply.wrong or (f"status {reply.status}: {reply.error}" if reply.status != 200 else "no text")
        return (Fault(FaultKind.UNANSWERED, why),)
    found = [Fault(FaultKind.BROKEN, reply.wrong)] if reply.wrong else []
    if reply.answered and not reply.aborted:
        found += [Fault(FaultKind.MISBILLED, told) for told in (_misbilled(question, reply),) if told]
    written = max(reply.pieces, 0 if reply.usage is None else reply.usage.output)
    if written > question.cap:
        more = " at least" if reply.aborted or reply.wrong else ""
        found.append(Fault(FaultKind.OVERSHOT, f"{written:,} tokens{more}, {question.cap:,} were asked for at most"))
    return tuple(found)


def _misbilled(question: Question, reply: Reply) -> str:
    """Say how the bill differs from what was seen; empty if it does not."""
    usage, seen, words = reply.usage, reply.seen_tokens, len(WORD.findall(question.prompt))
    if usage is None:
        return "nothing billed"
    written = sum(len(each.encode()) for choice in reply.choices for each in (choice.text, choice.reasoning))
    told = f"{usage.output:,} token{'s' * (usage.output != 1)} billed for an answer of"
    if usage.output < TOLERANCE * seen - 1:
        return f"{told} {seen:,} at least"
    if not reply.tool_calls and usage.output > written + usage.reasoning + SPARE * max(1, len(reply.choices)):
        return f"{told} {written:,} bytes"
    if usage.cached > usage.prompt or usage.reasoning > usage.output:
        return "more tokens from a cache, or of reasoning, billed than tokens in all"
    if usage.prompt < TOLERANCE * words - 1:
        return f"{usage.prompt:,} tokens billed for a prompt of {words:,} words"
    if usage.prompt > question.most_prompt:
        return f"{usage.prompt:,} tokens billed for a prompt of {len(question.prompt.encode()):,} bytes"
    return recounted(question, reply, usage)
