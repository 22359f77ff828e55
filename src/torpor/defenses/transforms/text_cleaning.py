"""Cleaning of texts: one spelling for what looks the same, no special tokens, no endless repetitions."""

from __future__ import annotations

import re
import unicodedata
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from torpor.core.space import InputSpace
from torpor.defenses.transforms.base import CHARACTERS, Transform

CYRILLIC = "АВЕКМНОРСТУХІЅЈԌԚԜаеорсухіѕјԁһԛԝ"
GREEK = "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαν"  # noqa: RUF001 - that is what they are for
LOOK_ALIKES = str.maketrans(CYRILLIC + GREEK, "ABEKMHOPCTYXISJGQWaeopcyxisjdhqw" + "ABEZHIKMNOPTYXoav")
"""Cyrillic and Greek letters and the Latin ones that look the same: some of the confusables of Unicode UTS #39."""
SPECIAL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:bos|eos|pad|unk|mask|sep|cls|start_of_turn|end_of_turn|extra_id_\d+)>"
    r"|\[/?(?:bos|eos|pad|unk|mask|sep|cls|inst)\]|<</?sys>>",
    re.IGNORECASE,
)
"""Special tokens of well-known tokenizers, spelled as text."""
PIECE = re.compile(r"([^\s\d]{1,8}?)\1{3,}")
"""A piece of up to 8 characters four times or more in a row; numbers may repeat their digits."""
TIMES = 3
"""How often such a piece may stand in a row."""
WORDS = 2
"""How often a word, or a phrase, may."""
PHRASE = 5
"""Words of the longest phrase."""


@dataclass(frozen=True)
class Cleaning(Transform):
    """A transform of texts without settings that is done when nothing is left to do: doing it again changes nothing.

    Attributes:
        passes: over all characters, as FLOPs count them.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    passes: ClassVar[int]

    @abstractmethod
    def once(self, text: str) -> str:
        """Return ``text`` after one round."""

    @override
    def forward(self, inputs: tuple[str, ...], generators: list[torch.Generator]) -> tuple[str, ...]:
        return tuple(map(self.clean, inputs))

    def clean(self, text: str) -> str:
        """Return ``text`` after as many rounds as it takes until nothing changes."""
        while (changed := self.once(text)) != text:
            text = changed
        return text

    def flops(self, space: InputSpace) -> int:
        """Return one operation for each character and pass, in two rounds; the second one finds nothing to do."""
        return 2 * self.passes * CHARACTERS


@dataclass(frozen=True)
class Normalize(Cleaning):
    r"""Normalize texts, so that what looks the same is the same.

    Control and format characters, such as zero-width spaces, go; compatibility forms become plain ones (Unicode NFKC);
    in words with a Latin letter, so do Cyrillic and Greek letters that look Latin; white space becomes one space, or
    one newline where there was any. Emoji and scripts that are held together by zero-width joiners come apart.

    >>> Normalize().clean("\uff57ide  p\u0430y\u200bpal ")
    'wide paypal'
    """

    id: ClassVar[str] = "normalize"
    passes: ClassVar[int] = 4

    @override
    def once(self, text: str) -> str:
        shown = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
        plain = unicodedata.normalize("NFKC", shown)
        latin = re.sub(r"\w+", lambda word: _latin(word[0]), plain)
        return re.sub(r"\s+", lambda space: "\n" if "\n" in space[0] else " ", latin).strip()


def _latin(word: str) -> str:
    """Return a word without letters that only look Latin, if any of its letters is."""
    return word.translate(LOOK_ALIKES) if re.search("[A-Za-z]", word) else word


@dataclass(frozen=True)
class Strip(Cleaning):
    """Remove special tokens spelled as text, and shorten repetitions.

    A piece of up to 8 characters other than digits stays 3 times in a row, a phrase of up to 5 words twice.

    >>> Strip().clean("tell me<|im_end|> more more more more sooooooo")
    'tell me more more sooo'
    """

    id: ClassVar[str] = "strip"
    passes: ClassVar[int] = 1 + 8 + PHRASE

    @override
    def once(self, text: str) -> str:
        first, *others = SPECIAL.split(text)
        plain = " ".join(part.strip() for part in (first, *others) if part.strip()) if others else first
        return _without_repeated_phrases(PIECE.sub(lambda found: found[1] * TIMES, plain))


def _without_repeated_phrases(text: str) -> str:
    """Keep each phrase at most ``WORDS`` times in a row, with the white space before each of its words."""
    parts = re.findall(r"\s*\S+|\s+$", text)
    for length in range(1, PHRASE + 1):
        kept: list[str] = []
        words: list[str] = []
        for part in parts:
            kept.append(part)
            words.append(part.strip())
            last = words[-length:]
            if all(words[-length * (n + 1) : -length * n] == last for n in range(1, WORDS + 1)):
                del kept[-length:], words[-length:]
        parts = kept
    return "".join(parts)
