"""Texts as inputs: which ones a tokenizer accepts, and how far apart two of them are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from typing_extensions import override

from torpor.core.budget import COUNTS
from torpor.core.conversation import MARK, SURROGATE
from torpor.core.errors import DataError
from torpor.core.space import InputSpace

WIDTH = 4096
"""Bytes in which files of torpor 0.1 hold a text."""


class Codec(Hashable, Protocol):
    """A tokenizer, as far as torpor needs one.

    Attributes:
        special: ids of tokens that no text may contain, such as the end token.
        special_texts: how these tokens are spelled.
        size: number of ids.
    """

    special: frozenset[int]
    special_texts: tuple[str, ...]
    size: int

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of ``text`` alone, without special tokens around it."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, special tokens left out."""


class Characters:
    """One token per character: for targets whose tokenizer is not available, such as a model behind an endpoint.

    >>> Characters().encode("hi"), Characters().decode((104, 105))
    ((104, 105), 'hi')
    """

    special: frozenset[int] = frozenset()
    special_texts: tuple[str, ...] = ()
    size = 128

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the code points; those of ASCII are the ids that attacks may put into a text."""
        return tuple(map(ord, text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters."""
        return "".join(map(chr, ids))


@dataclass(frozen=True, eq=False)
class TextSpace(InputSpace):
    """Texts that survive their own tokenizer: no special token in them, decode after encode gives them back.

    Attributes:
        codec: the target's tokenizer.
        max_tokens: that fit into the target.
    """

    kind: ClassVar[str] = "text"
    norms: ClassVar[tuple[str, ...]] = COUNTS

    codec: Codec
    max_tokens: int

    @property
    @override
    def accepts(self) -> str:
        return f"text of up to {self.max_tokens:,} tokens"

    def problem(self, text: Any) -> str | None:  # noqa: ANN401 - whatever a user gave
        """Return what is wrong with ``text`` as an input, or None."""
        if not isinstance(text, str) or not text.strip():
            return f"a text, got {text!r:.40}"
        if SURROGATE.search(text):
            return f"a text that UTF-8 can hold, got {text!r:.40}"
        if text.startswith(MARK):
            return "a text, got a conversation, which only a model with a chat template reads"
        if "\0" in text:
            return f"texts without NUL, got {text!r:.40}"
        if any(special in text for special in self.codec.special_texts):
            return f"a text without special tokens such as {self.codec.special_texts[0]}, got {text!r:.40}"
        return self._misfit(text)

    def _misfit(self, text: str) -> str | None:
        """Return what is wrong with the tokens of ``text``, or None."""
        count = len(self.codec.encode(text))
        return None if 0 < count <= self.max_tokens else f"texts of 1 to {self.max_tokens} tokens, got {count}"

    @override
    def check(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        if not inputs:
            raise DataError("expected at least one text, got an empty batch")
        for text in inputs:
            if problem := self.problem(text):
                raise DataError(f"expected {problem}")
        return inputs

    def snap(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """Texts are stored as they are."""
        return inputs

    @override
    def to_bytes(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        return inputs

    def from_bytes(self, stored: Tensor | tuple[str, ...]) -> tuple[str, ...]:
        """Return texts as they are; older files hold them packed, see :func:`unpack`."""
        return unpack(stored) if isinstance(stored, Tensor) else stored

    def fits(self, text: str) -> bool:
        """Tell whether the target reads all tokens of ``text``."""
        return len(self.codec.encode(text)) <= self.max_tokens

    def rejoined(self, text: str, clean: str) -> str:
        """Return ``text`` in the place of ``clean``: in the same conversation, if that was a turn of one."""
        return text

    def survives(self, text: str) -> bool:
        """Tell whether ``text`` can be sent and its tokens read the same after decode and encode.

        Tokenizers that fold case or spaces change texts once, but not their tokens.
        """
        if self.problem(text) is not None:
            return False
        ids = self.codec.encode(text)
        return self.codec.encode(self.codec.decode(ids)) == ids

    def distance(self, clean: str, text: str, norm: str) -> int | None:
        """Return how far ``text`` is from ``clean``; None if this norm does not allow such a change at all.

        ``chars``, ``tokens`` and ``words`` are Levenshtein distances, ``suffix`` is the number of tokens appended, and
        ``prompt`` is the number of tokens of a text that owes the clean one nothing.
        """
        if norm == "chars":
            return levenshtein(clean, text)
        if norm == "words":
            return levenshtein(clean.split(), text.split())
        before, after = self.codec.encode(clean), self.codec.encode(text)
        if norm == "tokens":
            return levenshtein(before, after)
        if norm == "suffix":
            return len(after) - len(before) if after[: len(before)] == before else None
        return 0 if text == clean else len(after)


def levenshtein(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Return the least number of insertions, deletions and substitutions between two sequences.

    >>> levenshtein("kitten", "sitting"), levenshtein(("a", "cat"), ("a", "dog", "too"))
    (3, 2)
    """
    if isinstance(first, str) and isinstance(second, str):
        return Levenshtein.distance(first, second)
    numbers: dict[Hashable, int] = {}  # rapidfuzz compares other elements by their hashes, which may collide
    one, other = ([numbers.setdefault(part, len(numbers)) for part in parts] for parts in (first, second))
    return Levenshtein.distance(one, other)


def pack(texts: Sequence[str]) -> Tensor:
    """Return texts as uint8 ``[B, WIDTH]``: UTF-8, padded with zeros; longer ones are cut at a whole character.

    >>> unpack(pack(["ä", "bc"]))
    ('ä', 'bc')
    """
    rows = torch.zeros(len(texts), WIDTH, dtype=torch.uint8)
    for row, text in zip(rows, texts, strict=True):
        data = text.replace("\0", "").encode("utf-8", "replace")[:WIDTH].decode("utf-8", "ignore").encode("utf-8")
        if data:
            row[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return rows


def unpack(rows: Tensor) -> tuple[str, ...]:
    """Return the texts that :func:`pack` stored."""
    return tuple(bytes(row.tolist()).rstrip(b"\0").decode("utf-8") for row in rows)
