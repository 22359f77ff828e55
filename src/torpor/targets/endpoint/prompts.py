"""Which texts are sent to an endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from torpor.core.conversation import MARK, conversation_of
from torpor.core.turns import TurnSpace

LONGEST = 131_072
"""Characters of a text; longer ones are cut."""
BYTES = 4
"""Of a character at most."""


@dataclass(frozen=True, eq=False)
class PromptSpace(TurnSpace):
    """Texts that are sent to an endpoint, whose tokenizer is not known.

    Attributes:
        talks: whether it takes conversations.
    """

    talks: bool = True

    @property
    @override
    def accepts(self) -> str:
        return f"text of up to {self.max_tokens:,} characters"

    @override
    def problem(self, text: Any) -> str | None:
        found = super().problem(text)
        if found is None and not self.talks and (conversation_of(text) is not None or text.startswith(MARK)):
            return "a text, got a conversation, which the API completions does not take"
        return found
