"""Conversations: what a chat model reads before and after the user's turn that an attack edits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torpor.core.errors import DataError

MARK = "\x1e"
"""What a stored conversation begins with: the record separator of JSON text sequences (RFC 7464)."""
KEYS = ("messages", "tools")
SURROGATE = re.compile("[\ud800-\udfff]")
"""Halves of UTF-16 pairs, which Python's strings can hold alone and UTF-8 cannot."""


@dataclass(frozen=True)
class Conversation:
    """Messages with a place for the user's turn, and the tools that the model may call.

    Attributes:
        messages: as JSON, the text of the turn left empty.
        place: of the turn among them.
        tools: their schemas as JSON; ``null`` for none.

    >>> found = Conversation.of([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    >>> found, found.conversation.filled("Ho")[-1]
    ('Hi', {'role': 'user', 'content': 'Ho'})
    """

    messages: str
    place: int
    tools: str = "null"

    @classmethod
    def of(cls, messages: Any, tools: Any = None) -> Turn:  # noqa: ANN401 - whatever JSON can hold
        """Return the last turn of the user's, with the conversation that it is in.

        Args:
            messages: dictionaries with ``role`` and ``content``, in the order of the conversation.
            tools: schemas of the tools; None for none.

        Raises:
            DataError: if nothing is left to be answered, or the last turn of the user's is no text.
        """
        known = isinstance(messages, list) and all(
            isinstance(each, dict) and isinstance(each.get("role"), str) for each in messages
        )
        if not known or not messages:
            raise DataError(f"expected messages with a role each, got {messages!r:.60}; correct them")
        if tools is not None and not (isinstance(tools, list) and all(isinstance(each, dict) for each in tools)):
            raise DataError(f"expected a list of schemas as tools, got {tools!r:.60}; correct it")
        turns = [place for place, each in enumerate(messages) if each["role"] == "user"]
        if not turns or messages[-1]["role"] == "assistant":
            raise DataError(
                f"expected a conversation that the model is to answer, got {len(messages)} messages of which the last "
                f"is the {messages[-1]['role']:.40}'s; end it with a turn of the user's"
            )
        place = turns[-1]
        text = messages[place].get("content")
        if not isinstance(text, str):
            raise DataError(f"expected text as the last turn of the user's, got {text!r:.60}; write it as one text")
        held = [{**each, "content": ""} if at == place else each for at, each in enumerate(messages)]
        return Turn(text, cls(_written(held), place, _written(tools)))

    def filled(self, text: str) -> list[dict[str, Any]]:
        """Return all messages, with ``text`` as the turn."""
        messages: list[dict[str, Any]] = json.loads(self.messages)
        messages[self.place]["content"] = str(text)
        return messages

    @property
    def schemas(self) -> list[dict[str, Any]] | None:
        """The schemas of the tools."""
        found: list[dict[str, Any]] | None = json.loads(self.tools)
        return found

    def stored(self, text: str) -> str:
        """Return the conversation with ``text`` as the turn, as files hold it."""
        return MARK + _written({"messages": self.filled(text), "tools": self.schemas})


class Turn(str):
    """The user's turn of a conversation: it is edited, compared and shown as the text that it is.

    Args:
        text: of the turn.
        conversation: that it is in.
    """

    conversation: Conversation | None

    def __new__(cls, text: str, conversation: Conversation | None = None) -> Self:
        """Return the text with its conversation."""
        found = super().__new__(cls, text)
        found.conversation = conversation
        return found


def conversation_of(text: str) -> Conversation | None:
    """Return the conversation that a text is a turn of; None for a text alone."""
    return getattr(text, "conversation", None)


def turn_of(stored: str) -> str:
    r"""Return the turn of a stored conversation, or the text itself if it is none.

    Raises:
        DataError: if what follows the mark is no conversation.

    >>> turn_of("Hi"), turn_of('\x1e{"messages": [{"role": "user", "content": "Ho"}]}')
    ('Hi', 'Ho')
    """
    if not stored.startswith(MARK):
        return stored
    try:
        found = json.loads(stored.removeprefix(MARK))
    except ValueError as error:
        raise DataError(f"expected a conversation as JSON, got {stored[1:41]!r}: {error}; store it again") from error
    if not isinstance(found, Mapping):
        raise DataError(f"expected a conversation, got {found!r:.40}; store it again")
    return Conversation.of(found.get("messages"), found.get("tools"))


def shown_turn(stored: str) -> str:
    """Return what people are to see of a stored input: the turn of a conversation, or the text."""
    try:
        return str(turn_of(stored))
    except DataError:
        return stored


def stored_turn(text: str) -> str:
    """Return a text as files hold it: with its conversation, if it has one."""
    conversation = conversation_of(text)
    return str(text) if conversation is None else conversation.stored(text)


def read_line(found: Any, known: Sequence[str] = (*KEYS, "prompt")) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return an input from a line of JSON as files hold it: a string, or an object with ``prompt`` or ``messages``.

    Raises:
        DataError: if it is something else, or holds keys that nothing would read.

    >>> read_line("Hi"), read_line({"prompt": "Ho"})
    ('Hi', 'Ho')
    """
    if SURROGATE.search(json.dumps(found, ensure_ascii=False)):
        raise DataError(f"expected text that UTF-8 can hold, got {found!r:.60}; remove halves of surrogate pairs")
    if isinstance(found, Mapping):
        if unknown := [name for name in found if name not in known]:
            raise DataError(f"expected prompt, or messages and tools, got {unknown[0]!r:.60}; leave it out")
        if "messages" in found and "prompt" not in found:
            return stored_turn(Conversation.of(found["messages"], found.get("tools")))
        if set(found) == {"prompt"}:
            found = found["prompt"]
    if not isinstance(found, str) or found.startswith(MARK):
        raise DataError(f"expected a string, or an object with a prompt, or with messages and tools, got {found!r:.60}")
    return found


def _written(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
