"""Requests from spans of OpenTelemetry that follow the conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ names the attributes; older names of the same are read
too. Spans come as the JSON of OTLP, as its file exporters write it, or flat, as an SDK prints them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torpor.data.logs.chats import joined, text_of
from torpor.data.logs.lines import BrokenLine
from torpor.data.logs.request import LoggedRequest, RecordedTokens, count_of

PREFIX = "gen_ai."
INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
CACHED = ("gen_ai.usage.cache_read.input_tokens",)
REASONING = ("gen_ai.usage.reasoning.output_tokens",)
CAP = ("gen_ai.request.max_tokens",)
INFERENCE = ("chat", "text_completion", "generate_content")
"""Operations that are requests; spans of agents repeat the tokens of those within."""
HOLDERS = ("resourceSpans", "scopeSpans", "instrumentationLibrarySpans", "spans", "batches")
_VALUES = ("stringValue", "intValue", "doubleValue", "boolValue")
DEEPEST = 16
"""Levels at which attributes may hold each other."""


def holds_spans(found: object) -> bool:
    """Tell whether a JSON value is a span, or holds some."""
    return isinstance(found, Mapping) and ("attributes" in found or any(name in found for name in HOLDERS))


def spans_in(found: object, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield every span that a JSON value holds, in its order.

    >>> list(spans_in({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "chat"}]}]}]}))
    [{'name': 'chat'}]
    """
    if isinstance(found, list):
        for each in found:
            yield from spans_in(each, depth)
    elif isinstance(found, Mapping):
        inner = [found[name] for name in HOLDERS if isinstance(found.get(name), list)]
        if depth > DEEPEST:
            raise BrokenLine(f"expected spans within at most {DEEPEST} others, got more")
        if inner:
            for each in inner:
                yield from spans_in(each, depth + 1)
        else:
            yield found


def span_request(span: Mapping[str, Any]) -> LoggedRequest | None:
    """Return the request that a span is of; None if it is of something else, such as a tool or a whole agent.

    Raises:
        BrokenLine: if its attributes or counts cannot be read.

    >>> span_request({"attributes": {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 2}}).tokens
    RecordedTokens(prompt=3, output=2, cached=0, reasoning=0)
    >>> span_request({"attributes": {"http.route": "/"}}) is None
    True
    """
    held = attributes_of(span.get("attributes"))
    events = span.get("events")
    for event in events if isinstance(events, list) else ():
        if isinstance(event, Mapping):
            held = attributes_of(event.get("attributes")) | held
    operation = held.get("gen_ai.operation.name")
    if not any(name.startswith(PREFIX) for name in held) or operation not in (None, *INFERENCE):
        return None
    prompt, output = count_of(held, INPUT), count_of(held, OUTPUT)
    tokens = None
    if prompt is not None and output is not None:
        tokens = RecordedTokens(prompt, output, count_of(held, CACHED) or 0, count_of(held, REASONING) or 0)
    try:
        text = _text(held)
    except BrokenLine:
        if tokens is None:
            raise
        text = None  # tokens were recorded whatever the messages hold
    return None if tokens is None and text is None else LoggedRequest(text, tokens, count_of(held, CAP))


def attributes_of(found: object) -> dict[str, Any]:
    """Return attributes by name: of an object, or of OTLP's list of keys and values.

    Raises:
        BrokenLine: if they are neither.

    >>> attributes_of([{"key": "n", "value": {"intValue": "3"}}])
    {'n': '3'}
    """
    if found is None:
        return {}
    if isinstance(found, Mapping):
        return {str(name): value for name, value in found.items()}
    if not isinstance(found, list):
        raise BrokenLine(f"expected attributes of a span, got {found!r:.60}")
    pairs = [each for each in found if isinstance(each, Mapping) and isinstance(each.get("key"), str)]
    return {each["key"]: _value(each.get("value")) for each in pairs}


def _value(found: object, depth: int = 0) -> Any:  # noqa: ANN401 - whatever OTLP can hold
    if not isinstance(found, Mapping) or depth > DEEPEST:
        return None
    for name in _VALUES:
        if name in found:
            return found[name]
    if isinstance(listed := found.get("arrayValue"), Mapping) and isinstance(listed.get("values"), list):
        return [_value(each, depth + 1) for each in listed["values"]]
    if isinstance(table := found.get("kvlistValue"), Mapping) and isinstance(table.get("values"), list):
        pairs = [each for each in table["values"] if isinstance(each, Mapping)]
        return {str(each.get("key")): _value(each.get("value"), depth + 1) for each in pairs}
    return None


def _text(held: Mapping[str, Any]) -> str | None:
    """Return the messages or the prompt among attributes, as files hold it; None where they have none."""
    messages = _json(held.get("gen_ai.input.messages"))
    if isinstance(messages, list):
        told = _json(held.get("gen_ai.system_instructions"))
        before = [{"role": "system", "parts": told}] if isinstance(told, list) and told else []
        return text_of({"messages": [_message(each) for each in [*before, *messages]]})
    prompt = held.get("gen_ai.prompt")
    numbered = list[dict[str, Any]]()
    while isinstance(held.get(f"gen_ai.prompt.{len(numbered)}.content"), str):
        at = f"gen_ai.prompt.{len(numbered)}"
        numbered.append({"role": held.get(f"{at}.role", "user"), "content": held[f"{at}.content"]})
    if numbered:
        return text_of({"messages": numbered})
    found = _json(prompt)
    return text_of({"messages": found}) if isinstance(found, list) else text_of({"prompt": prompt})


def _message(found: object) -> dict[str, Any]:
    """Return a message of the conventions as one of chat APIs: its parts joined, calls of tools as JSON."""
    if not isinstance(found, Mapping):
        raise BrokenLine(f"expected a message, got {found!r:.60}")
    parts = found.get("parts", found.get("content"))
    if isinstance(parts, Sequence) and not isinstance(parts, str):
        texts = [
            part if not isinstance(part, Mapping) or part.get("type") == "text" else {"text": json.dumps(dict(part))}
            for part in parts
            if not (isinstance(part, Mapping) and part.get("type") in ("blob", "uri", "file"))
        ]
        if len(texts) < len(parts):
            raise BrokenLine("expected parts that are texts, got a file")
        parts = joined(texts)
    return {"role": found.get("role"), "content": parts}


def _json(found: object) -> object:
    """Return what a text holds as JSON, as exporters write what is no plain value; anything else as it is."""
    if not isinstance(found, str):
        return found
    try:
        return json.loads(found)
    except (ValueError, RecursionError):
        return found
