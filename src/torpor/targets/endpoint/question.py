"""A request as it is sent, and how far its caps bound what it can make the server do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torpor.core.conversation import Conversation
from torpor.targets.endpoint.address import Address
from torpor.targets.endpoint.client import CHAT, COMPLETIONS
from torpor.targets.endpoint.options import EndpointOptions

TEMPLATE, PER_MESSAGE = 256, 8
"""Tokens that a server may put around what it is sent, and around each message."""


@dataclass(frozen=True)
class Question:
    """What is asked for one text.

    Attributes:
        path: of the API.
        body: what is sent.
        prompt: what the model reads of it, as text.
        context: tokens that the model reads and writes at most; None if nobody says so.
        cap: tokens that it may write.
        tokenizer: that counts tokens anew; None if it is not known.

    >>> address = Address("http://127.0.0.1:8000/v1", "small")
    >>> question = Question.of(address, EndpointOptions(cap=8), "Hi")
    >>> question.path, question.body["max_tokens"], question.most_prompt
    ('chat/completions', 8, 266)
    """

    path: str
    body: Mapping[str, Any]
    prompt: str
    context: int | None
    cap: int
    tokenizer: str | None = None

    @classmethod
    def of(
        cls, address: Address, options: EndpointOptions, text: str, conversation: Conversation | None = None
    ) -> Question:
        """Return what is asked for a text, as the user's turn of a conversation if there is one."""
        body: dict[str, Any] = {"model": address.model}
        if options.api == "completions":
            path, prompt = COMPLETIONS, text
            body["prompt"] = text
        else:
            path = CHAT
            alone = [{"role": "user", "content": text}]
            body["messages"] = alone if conversation is None else conversation.filled(text)
            if conversation is not None and (tools := conversation.schemas) is not None:
                body["tools"] = tools
            prompt = _read(body)
        body |= {options.cap_as: options.cap, "temperature": options.temperature}
        return cls(path, body, prompt, options.context, options.cap, options.tokenizer)

    @property
    def most_prompt(self) -> int:
        """Tokens that the server can read of it: one per byte, since no tokenizer makes more, and its own template."""
        messages = self.body.get("messages") or ()
        most = len(self.prompt.encode()) + TEMPLATE + PER_MESSAGE * len(messages)
        return most if self.context is None else min(most, self.context)

    @property
    def most_calls(self) -> int:
        """Calls of tools that the answer can hold: each takes a token at least."""
        return self.cap if self.body.get("tools") else 0

    def key(self, url: str, draw: int) -> str:
        """Return a digest that tells this request from others.

        Args:
            url: of the server.
            draw: number of the answer to it that is wanted.
        """
        said = json.dumps([url, self.path, self.body, draw], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:32]


def _read(body: Mapping[str, Any]) -> str:
    """Return what a model reads of messages and schemas of tools; no template leaves more of them than this."""
    parts = [
        each["content"]
        if isinstance(each.get("content"), str) and set(each) <= {"role", "content"}
        else json.dumps(each)
        for each in body["messages"]
    ]
    return "\n".join([*parts, *([json.dumps(body["tools"])] if "tools" in body else [])])
