"""Requests from JSON: bodies that chat APIs take, logs with their usage, and lines of traces of serving tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torpor.core.conversation import read_line
from torpor.core.errors import DataError
from torpor.data.logs.lines import BrokenLine
from torpor.data.logs.request import LoggedRequest, RecordedTokens, count_of

PROMPT = ("prompt_tokens", "input_tokens", "input_length")
OUTPUT = ("completion_tokens", "output_tokens", "output_length")
CAPS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
NESTED = ("body", "request")
"""Where a line holds the body of the request, as those of OpenAI's batch files do."""


def request_of(found: object) -> LoggedRequest:
    """Return the request that a JSON value holds.

    It is a text; or an object with ``prompt``, ``input``, ``text_input`` or ``messages``, perhaps with a cap and
    ``usage``; or one with ``input_length`` and ``output_length``, as in Mooncake's traces. Keys that say nothing about
    cost are ignored. Answers at the end of a conversation are left out: they are what the request was answered with.

    Raises:
        BrokenLine: if it is no request.

    >>> request_of({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}).cap
    9
    >>> request_of({"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46]}).tokens
    RecordedTokens(prompt=6955, output=52, cached=0, reasoning=0)
    """
    if isinstance(found, str):
        return LoggedRequest(_checked(found))
    if not isinstance(found, Mapping):
        raise BrokenLine(f"expected a request, got {found!r:.60}")
    body = next((found[name] for name in NESTED if isinstance(found.get(name), Mapping)), found)
    request = LoggedRequest(text_of(body), tokens_of(_usage(found)), count_of(body, CAPS))
    if request.text is None and request.tokens is None:
        raise BrokenLine(f"expected a prompt, messages or recorded tokens, got only {', '.join(map(str, found))!r:.60}")
    return request


def text_of(body: Mapping[str, Any]) -> str | None:
    """Return the prompt or the conversation of a body, as files hold it; None where it has none.

    Raises:
        BrokenLine: if it cannot be sent as text.
    """
    messages = body.get("messages")
    for name in ("input", "prompt", "text_input"):
        value = body.get(name)
        if isinstance(value, str):
            return _checked(value)
        if name == "input" and isinstance(value, list) and messages is None:
            messages = value
    if messages is None:
        return None
    tools = body.get("tools")
    return _checked({"messages": unanswered(messages), **({"tools": tools} if tools else {})})


def unanswered(messages: object) -> list[dict[str, Any]]:
    """Return messages up to the last one that is not the model's own, contents of several parts joined.

    Raises:
        BrokenLine: if they are no messages, or hold other parts than texts.

    >>> unanswered([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant"}])
    [{'role': 'user', 'content': 'Hi'}]
    """
    if not isinstance(messages, list) or not all(isinstance(each, Mapping) for each in messages):
        raise BrokenLine(f"expected messages with a role each, got {messages!r:.60}")
    end = len(messages)
    while end and messages[end - 1].get("role") == "assistant":
        end -= 1
    return [{**each, "content": joined(each.get("content"))} for each in messages[:end]]


def joined(content: object) -> object:
    """Return the text of a content of parts, or a content that is none as it is.

    Raises:
        BrokenLine: if some part is no text.
    """
    if not isinstance(content, list):
        return content
    texts = [part.get("text", part.get("content")) if isinstance(part, Mapping) else part for part in content]
    if not all(isinstance(text, str) for text in texts):
        kinds = {str(part.get("type")) for part in content if isinstance(part, Mapping)}
        raise BrokenLine(f"expected parts that are texts, got {', '.join(sorted(kinds)) or 'others'!r:.60}")
    return "\n".join(map(str, texts))


def tokens_of(usage: Mapping[str, Any]) -> RecordedTokens | None:
    """Return the tokens under the names of OpenAI's APIs, of Anthropic's or of traces; None where either is missing.

    Raises:
        BrokenLine: if a count is none.

    >>> tokens_of({"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5})
    RecordedTokens(prompt=7, output=5, cached=4, reasoning=0)
    """
    prompt, output = count_of(usage, PROMPT), count_of(usage, OUTPUT)
    if prompt is None or output is None:
        return None
    cached = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    reasoning = _detail(usage, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    beside = count_of(usage, ("cache_read_input_tokens",)) or 0  # Anthropic counts these beside the others
    written = count_of(usage, ("cache_creation_input_tokens",)) or 0
    return RecordedTokens(prompt + beside + written, output, cached + beside, reasoning)


def _detail(usage: Mapping[str, Any], places: Sequence[str], name: str) -> int:
    details = (usage.get(place) for place in places)
    found = next((each for each in details if isinstance(each, Mapping)), None)
    return 0 if found is None else count_of(found, (name,)) or 0


def _usage(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object that holds the counts: ``usage``, perhaps of a response, or the line itself."""
    response = found.get("response")
    answers = [found, response, response.get("body") if isinstance(response, Mapping) else None]
    for each in answers:
        if isinstance(each, Mapping) and isinstance(each.get("usage"), Mapping):
            return dict(each["usage"])
    return found


def _checked(found: object) -> str:
    try:
        return read_line(found)
    except DataError as error:
        raise BrokenLine(str(error)) from error
