"""Constraints: which texts may be sent at all, and which tokens may be put into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torpor.core.budget import Budget
from torpor.core.text import Codec, TextSpace

BROKEN = "\ufffd"
"""What tokenizers decode bytes to that are not a character."""


@dataclass(frozen=True)
class Sendable:
    """Texts that the target takes, that survive their tokenizer and that stay within a budget.

    A special token written as text, such as ``</s>``, is refused: a server that reads it as text is not attacked by it,
    and one that reads it as a token has another problem.

    Attributes:
        space: of the target.
        budget: how far a text may be from the clean one.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> fits = Sendable(ToyText().space, Budget("chars", 2))
    >>> fits("a cat", "a cat!"), fits("a cat", "a cat"), fits("a cat", "a cat</s>"), fits("a cat", "a cat!!!")
    (True, False, False, False)
    """

    space: TextSpace
    budget: Budget

    def __call__(self, clean: str, text: str) -> bool:
        """Tell whether ``text`` may be sent in place of ``clean``, and is another text."""
        if text == clean or not self.space.survives(text):
            return False
        far = self.distance(clean, text)
        return far is not None and far <= self.budget.eps

    def distance(self, clean: str, text: str) -> int | None:
        """Return what :meth:`torpor.core.text.TextSpace.distance` does, in the measure of the budget."""
        return self.space.distance(clean, text, self.budget.norm)


def insertable(codec: Codec, size: int | None = None) -> Tensor:
    """Return which ids may be put into a text, bool ``[V]``.

    Left out are special tokens, what is spelled like one, control characters, and bytes that are not whole characters.

    Args:
        codec: the target's tokenizer.
        size: ids in all; models may have more of them than their tokenizer.
    """
    allowed = torch.zeros(size or codec.size, dtype=torch.bool)
    for token in range(min(codec.size, len(allowed))):
        if token not in codec.special:
            text = codec.decode((token,))
            plain = all(character.isprintable() or character in "\n\t" for character in text.replace(BROKEN, "\0"))
            allowed[token] = bool(text) and plain and not any(special in text for special in codec.special_texts)
    return allowed


def readable(space: TextSpace, ids: Sequence[int], most: int) -> str | None:
    """Return a text that survives its tokenizer and has at most ``most`` tokens, from ids that may not; None if none.

    What counts is what the tokenizer makes of the text, not the ids that it was put together from: tokens may merge, or
    come apart. Texts that come out too long are cut.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> toy = ToyText()
    >>> readable(toy.space, toy.codec.encode("9") * 6, most=2)
    '9999'
    """
    length = len(ids)
    while length > 0:
        text = space.codec.decode(ids[:length])
        count = len(space.codec.encode(text))
        if count <= most and space.survives(text):
            return text
        length -= max(1, count - most)
    return None
