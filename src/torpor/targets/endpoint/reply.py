"""What a server answered: texts, what it bills, how long it took, and what was wrong with the answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

WORD = re.compile(r"\w+")
LATE = "an answer that did not end within"
"""How :attr:`Reply.wrong` begins if the time for it was over."""
UNDER_WAY = "it was under way when an earlier run was ended"
"""What is wrong with a request that is not sent again, since it may have been answered and billed."""
MOST_BILLED = 10**9
"""Tokens of one request that a bill may name: one that names more is no bill, and its sums would leave 64 bits."""


@dataclass(frozen=True)
class Usage:
    """Tokens that the server says it has read and written.

    Attributes:
        prompt: tokens read, those from a cache included.
        output: tokens written, those of its reasoning included.
        cached: tokens read that came from a cache.
        reasoning: tokens written before the answer.
    """

    prompt: int
    output: int
    cached: int = 0
    reasoning: int = 0

    @staticmethod
    def of(found: object) -> Usage | None:
        """Read the field ``usage`` of an answer; None if it is missing or holds no counts that can be.

        >>> Usage.of({"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}})
        Usage(prompt=3, output=5, cached=2, reasoning=0)
        >>> bills = {"prompt_tokens": -1, "completion_tokens": "5"}, {"prompt_tokens": 3, "completion_tokens": 10**30}
        >>> [Usage.of(bill) for bill in bills]
        [None, None]
        """
        if not isinstance(found, Mapping):
            return None
        prompt, output = _count(found.get("prompt_tokens")), _count(found.get("completion_tokens"))
        if prompt is None or output is None:
            return None
        details = [found.get(name) for name in ("prompt_tokens_details", "completion_tokens_details")]
        read, written = (each if isinstance(each, Mapping) else {} for each in details)
        return Usage(
            prompt, output, _count(read.get("cached_tokens")) or 0, _count(written.get("reasoning_tokens")) or 0
        )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_BILLED else None


@dataclass(frozen=True)
class Choice:
    """One of the answers to a request.

    Attributes:
        text: what was written.
        reasoning: what was written before it, as far as the server shows it.
        finish: why it ended, in the server's word; empty if it did not say.
        tool_calls: how many calls of tools it holds.
        logprobs: the most alternatives that it lists for a token, of the answer or of the prompt.
    """

    text: str = ""
    reasoning: str = ""
    finish: str = ""
    tool_calls: int = 0
    logprobs: int = 0


@dataclass(frozen=True)
class Reply:
    """An answer, whole or not.

    Attributes:
        status: of HTTP; None if none came.
        choices: the answers.
        usage: what the server bills; None if it does not say.
        pieces: parts of the stream that held text, of all choices; 0 if it was not streamed.
        seconds_first: until the first part that held text; NaN if there was none.
        seconds: until the end, or until it was given up.
        wrong: what was wrong with it, in words, the empty text if nothing was: of the connection, of HTTP, of the JSON.
        error: what the server said, cut to a line, where it refused.
        aborted: whether this side ended it on purpose.
        retry_after_s: after which the server, which refused for now, says that it may be asked again.
    """

    status: int | None = None
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    pieces: int = 0
    seconds_first: float = float("nan")
    seconds: float = 0.0
    wrong: str = ""
    error: str = ""
    aborted: bool = False
    retry_after_s: float | None = None

    @property
    def answered(self) -> bool:
        """Whether it is a whole answer."""
        return self.status == 200 and not self.wrong

    @property
    def late(self) -> bool:
        """Whether it was given up since it took too long, although something of it came again and again."""
        return self.wrong.startswith(LATE)

    @property
    def lost(self) -> bool:
        """Whether all that is known is that it was sent, or about to be, when an earlier run was ended."""
        return self.wrong == UNDER_WAY

    @property
    def refused(self) -> bool:
        """Whether the server refused the request as such, or for now."""
        return self.status is not None and 400 <= self.status < 500

    @property
    def refuses_streams(self) -> bool:
        """Whether the server refused the request for asking that the answer come in parts, with its bill.

        >>> Reply(422, error="Extra inputs are not permitted: stream_options").refuses_streams
        True
        """
        return self.status in (400, 422) and "stream" in self.error.lower()

    @property
    def tool_calls(self) -> int:
        """Calls of tools, of all choices."""
        return sum(choice.tool_calls for choice in self.choices)

    @property
    def text(self) -> str:
        """What was written, of all choices."""
        return "\n".join(choice.text for choice in self.choices)

    @property
    def words(self) -> int:
        """Words of all answers and of their reasoning: hardly any tokenizer makes fewer tokens of them."""
        return sum(len(WORD.findall(each)) for choice in self.choices for each in (choice.text, choice.reasoning))

    @property
    def least_tokens(self) -> int:
        """Tokens that were written at least: as many as the server bills, streamed parts, or words."""
        return max(0 if self.usage is None else self.usage.output, self.seen_tokens)

    @property
    def seen_tokens(self) -> int:
        """Tokens that were written at least, whatever the server bills."""
        return max(self.pieces, self.words)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of reasoning at least: as billed, or words of what is shown."""
        shown = sum(len(WORD.findall(choice.reasoning)) for choice in self.choices)
        return max(0 if self.usage is None else self.usage.reasoning, shown)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it; :meth:`of_json` reads it."""
        found = asdict(self)
        return found | {"seconds_first": None if math.isnan(self.seconds_first) else self.seconds_first}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError: if it is something else.

        >>> reply = Reply(200, (Choice("yes"),), Usage(3, 1), pieces=1)
        >>> str(Reply.of_json(reply.to_json())) == str(reply)
        True
        """
        first, usage = found["seconds_first"], found["usage"]
        parts = {
            "choices": tuple(Choice(**each) for each in found["choices"]),
            "usage": None if usage is None else Usage(**usage),
            "seconds_first": math.nan if first is None else first,
        }
        return cls(**{**found, **parts})
