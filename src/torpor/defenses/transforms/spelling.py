"""Spelling repair: unknown words become the commonest word one edit away."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar, Self

import torch
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.space import InputSpace
from torpor.defenses.settings import library
from torpor.defenses.transforms.base import CHARACTERS, Transform
from torpor.targets.base import Target

WORD = re.compile(r"(?<![\w'])[^\W\d_]+(?:'[^\W\d_]+)*(?![\w'])")
SHORTEST = 4
"""Letters of the shortest word that is repaired: shorter ones have too many neighbors."""
LONGEST = 24
"""Letters of the longest one: longer ones have many neighbors, and are rarely misspellings."""
LETTERS = 5
"""Letters of a usual word, for FLOPs."""


@dataclass(frozen=True)
class Spelling(Transform):
    """Replace each unknown word by the most common word of the language one edit away, if there is one.

    Words and how common they are come from pyspellchecker. Case stays: words are repaired that are in small letters, in
    capitals, or begin with one; others, words with digits and words of less than 4 or more than 24 letters stay.

    Attributes:
        language: two letters, one of pyspellchecker's.

    >>> Spelling().clean("A smal hoouse for NASDAQ42")
    'A small house for NASDAQ42'
    """

    id: ClassVar[str] = "spelling"
    kinds: ClassVar[tuple[str, ...]] = ("text",)

    language: str = "en"

    @classmethod
    @override
    def parse(cls, value: str) -> Self:
        return cls(value) if value else cls()

    @property
    @override
    def name(self) -> str:
        return f"{self.id}:{self.language}"

    def check(self, target: Target) -> None:
        """See :meth:`Defense.check`; pyspellchecker must be there too, and know the language."""
        super().check(target)
        _checker(self.language)

    @override
    def forward(self, inputs: tuple[str, ...], generators: list[torch.Generator]) -> tuple[str, ...]:
        return tuple(map(self.clean, inputs))

    def clean(self, text: str) -> str:
        """Return ``text`` with its words repaired."""
        return WORD.sub(lambda found: _repaired(found[0], self.language), text)

    def flops(self, space: InputSpace) -> int:
        """Return the comparisons of letters if every word is unknown, all words having 5 letters.

        A word of ``n`` letters has ``54 n + 25`` strings one edit away: ``n`` deletions, ``n - 1`` swaps, ``26 n``
        replacements and ``26 (n + 1)`` insertions; each is looked up once, at ``n`` comparisons.
        """
        return CHARACTERS // (LETTERS + 1) * (54 * LETTERS + 25) * LETTERS


@cache
def _checker(language: str) -> Any:  # noqa: ANN401 - pyspellchecker's
    spellchecker = library("spellchecker", "pyspellchecker", Spelling.id)
    known = spellchecker.SpellChecker.languages()
    if language not in known:
        raise UsageError(f"expected a language among {', '.join(sorted(known))} for {Spelling.id}, got {language!r}")
    return spellchecker.SpellChecker(language=language, distance=1)


@lru_cache(maxsize=65536)
def _repaired(word: str, language: str) -> str:
    """Return a word repaired, in its own case."""
    checker, small = _checker(language), word.lower()
    case = next((case for case in (str.lower, str.capitalize, str.upper) if case(small) == word), None)
    if case is None or not SHORTEST <= len(word) <= LONGEST or small in checker:
        return word
    near = [other for other in checker.known(checker.edit_distance_1(small)) if WORD.fullmatch(other)]
    return case(max(near, key=lambda other: (checker[other], other))) if near else word
