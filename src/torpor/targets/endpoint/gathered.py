"""Put an answer together from the JSON objects in which it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torpor.targets.endpoint.reply import Choice, Usage

MOST_CALLS = 10_000
"""Calls of tools in one answer that are believed."""


@dataclass
class Gathered:
    """What has come of an answer so far."""

    texts: dict[int, str] = field(default_factory=dict)
    reasonings: dict[int, str] = field(default_factory=dict)
    finishes: dict[int, str] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    logprobs: dict[int, int] = field(default_factory=dict)
    usage: Usage | None = None
    pieces: int = 0

    def add(self, found: Mapping[str, Any], *, streamed: bool) -> bool:
        """Add one JSON object, of a stream or the whole answer, and tell whether it held text."""
        self.usage = Usage.of(found.get("usage")) or self.usage
        held = False
        choices = found.get("choices")
        for place, choice in enumerate(choices if isinstance(choices, list) else []):
            if isinstance(choice, Mapping):
                held |= self._choice(choice, place)
        self.pieces += held and streamed
        return held

    def _choice(self, choice: Mapping[str, Any], place: int) -> bool:
        index = choice.get("index")
        index = index if isinstance(index, int) else place
        message = choice.get("delta") or choice.get("message") or choice
        message = message if isinstance(message, Mapping) else {}
        text = _text(message.get("content")) or _text(choice.get("text"))
        thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
        self.texts[index] = self.texts.get(index, "") + text
        self.reasonings[index] = self.reasonings.get(index, "") + thought
        if finish := _text(choice.get("finish_reason")):
            self.finishes[index] = finish
        tools = message.get("tool_calls")
        self.calls[index] = max(self.calls.get(index, 0), _calls(tools))
        listed = (choice.get("logprobs"), {"top_logprobs": choice.get("prompt_logprobs")})
        self.logprobs[index] = max(self.logprobs.get(index, 0), *map(_alternatives, listed))
        return bool(text or thought)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The answers, in the server's order."""
        return tuple(
            Choice(self.texts[at], self.reasonings[at], self.finishes.get(at, ""), self.calls[at], self.logprobs[at])
            for at in sorted(self.texts)
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _calls(tools: object) -> int:
    """Return how many calls of tools are known: a stream tells the index of the one that a part is of."""
    listed = tools if isinstance(tools, list) else []
    numbers = [each.get("index") for each in listed if isinstance(each, Mapping)]
    return max(
        [len(listed), *(number + 1 for number in numbers if isinstance(number, int) and 0 <= number < MOST_CALLS)]
    )


def _alternatives(found: object) -> int:
    """Return the most alternatives that are listed for a token, in the form of chats or of completions."""
    if not isinstance(found, Mapping):
        return 0
    content, listed = found.get("content"), found.get("top_logprobs")
    if isinstance(content, list):
        listed = [each.get("top_logprobs") for each in content if isinstance(each, Mapping)]
    if not isinstance(listed, list):
        return 0
    return max((len(each) for each in listed if isinstance(each, list | Mapping)), default=0)
