"""The space of user's turns: texts alone, or texts in a conversation of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from typing_extensions import override

from torpor.core.conversation import Turn, conversation_of, stored_turn, turn_of
from torpor.core.errors import DataError
from torpor.core.text import TextSpace


@dataclass(frozen=True, eq=False)
class TurnSpace(TextSpace):
    r"""Texts of which each may be the user's turn of a conversation; files hold them as lines of JSON.

    >>> from torpor.core.text import Characters
    >>> space = TurnSpace(Characters(), 10)
    >>> space.check(("Hi", '\x1e{"messages": [{"role": "user", "content": "Ho"}]}'))
    ('Hi', 'Ho')
    """

    @override
    def problem(self, text: Any) -> str | None:
        try:
            return super().problem(turn_of(text) if isinstance(text, str) else text)
        except DataError as error:
            return str(error).removeprefix("expected ")

    @override
    def check(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(turn_of(text) for text in super().check(inputs))

    @override
    def rejoined(self, text: str, clean: str) -> str:
        conversation = conversation_of(clean)
        return text if conversation is None else Turn(text, conversation)

    @override
    def to_bytes(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        return super().to_bytes(tuple(map(stored_turn, inputs)))

    @override
    def from_bytes(self, stored: Tensor | tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(turn_of, super().from_bytes(stored)))
