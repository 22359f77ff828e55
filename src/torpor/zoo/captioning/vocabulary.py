"""Words and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torpor.core.errors import UsageError

SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a decoder can generate; the first four ids mark padding, start, end, and any other word.

    Attributes:
        words: all entries in the order of their ids, beginning with ``SPECIAL``.

    >>> vocabulary = Vocabulary.of(["a red three .", "a blue one ."])
    >>> len(vocabulary), vocabulary.encode("a red one .")
    (10, [5, 8, 7, 4, 2])
    >>> vocabulary.decode([1, 5, 8, 7, 4, 2, 0, 0])
    'a red one .'
    """

    words: tuple[str, ...]

    pad = 0
    """Fills the rows of a batch after their end."""
    start = 1
    """What a decoder reads before the first word."""
    end = 2
    """The token with which a decoder ends its output."""
    unknown = 3
    """Any word that is not in the vocabulary."""

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL)] != SPECIAL or len(set(self.words)) != len(self.words):
            raise UsageError(f"expected {', '.join(SPECIAL)} and then words that differ, got {self.words}")

    @staticmethod
    def of(texts: Iterable[str]) -> Vocabulary:
        """Collect the words of ``texts``, which are apart by white space, in alphabetical order."""
        return Vocabulary((*SPECIAL, *sorted({word for text in texts for word in text.split()} - set(SPECIAL))))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words of ``text`` and of the end; without the start."""
        return [*(self._ids.get(word, self.unknown) for word in text.split()), self.end]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words up to the first end, or all where there is none; padding and start are left out.

        Raises:
            UsageError: on an id that is not in the vocabulary.
        """
        said = []
        for number in ids:
            if not 0 <= number < len(self):
                raise UsageError(
                    f"expected ids from 0 to {len(self) - 1}, got {number}; use the model's own vocabulary"
                )
            if number == self.end:
                break
            if number not in (self.pad, self.start):
                said.append(self.words[number])
        return " ".join(said)

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Special words as text mean nothing special: they are unknown."""
        return {word: number for number, word in enumerate(self.words) if number >= len(SPECIAL)}
