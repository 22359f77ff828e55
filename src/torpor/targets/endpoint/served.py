"""What an endpoint made of one input: the answer that counts, what it took, and what was wrong with any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torpor.core.work import Generation
from torpor.targets.endpoint.faults import Fault, faults_of
from torpor.targets.endpoint.question import Question
from torpor.targets.endpoint.reply import Reply
from torpor.targets.endpoint.work import OUTPUT, Counts, counts_of

CUT = ("length", "max_tokens")
"""Words of servers for an answer that the cap ended."""


@dataclass(frozen=True)
class ServedText(Generation):
    """What came of one input, asked once or several times.

    Attributes:
        counts: what the answer that counts took.
        reply: the same answer.
        faults: of all answers.
        varies: whether equal requests got answers of different lengths; None if there was one answer.
        asked: answers of which the one that counts has middle length.

    >>> ServedText.none().text
    ''
    """

    counts: Counts = ()
    reply: Reply | None = None
    faults: tuple[Fault, ...] = ()
    varies: bool | None = None
    asked: int = 0

    @classmethod
    def none(cls) -> Self:
        """Return what is there of an input that was never sent."""
        return cls((), "", capped=False)

    @classmethod
    def of(cls, question: Question, replies: Sequence[Reply], others: Sequence[Reply] = ()) -> Self:
        """Return what came of a question.

        Args:
            question: that was asked.
            replies: to it; that of middle length counts, the shorter one of two.
            others: to the same question, that only tell whether it is always answered alike.
        """
        every = [counts_of(question, reply) for reply in replies]
        place = sorted(range(len(every)), key=lambda at: every[at][OUTPUT])[(len(every) - 1) // 2]
        counts, reply = every[place], replies[place]
        lengths = {each[OUTPUT] for each in every} | {counts_of(question, each)[OUTPUT] for each in others}
        found = dict.fromkeys(fault for each in replies for fault in faults_of(question, each))
        ended = any(choice.finish in CUT for choice in reply.choices) or counts[OUTPUT] >= question.cap
        text = "\n".join(part for choice in reply.choices for part in (choice.reasoning, choice.text) if part)
        return cls(
            (),
            text,
            capped=ended,
            counts=counts,
            reply=reply,
            faults=tuple(found),
            varies=len(lengths) > 1 if len(replies) + len(others) > 1 else None,
            asked=len(replies),
        )
