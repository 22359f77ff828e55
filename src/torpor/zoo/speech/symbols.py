"""What the speech synthesizer reads: letters and a few marks, one token each."""

from __future__ import annotations

import string
from collections.abc import Sequence

PAD, END, UNKNOWN = range(3)
STRANGE = "\ufffd"
"""What stands for any character that is no symbol."""
SYMBOLS = STRANGE + string.ascii_lowercase + " .,!?'-"


class Symbols:
    """One token per character: capitals are read as small letters, and all characters that it does not know alike.

    >>> symbols = Symbols()
    >>> symbols.decode(symbols.encode("Two, two")), symbols.encode("2") == symbols.encode("§") == (UNKNOWN,)
    ('two, two', True)
    """

    special = frozenset((PAD, END))
    special_texts = ()
    size = UNKNOWN + len(SYMBOLS)
    is_tokenizer = True

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of the characters of ``text``."""
        return tuple(_IDS.get(character, UNKNOWN) for character in text.lower())

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters of ``ids``, padding and end left out."""
        return "".join(SYMBOLS[number - UNKNOWN] for number in ids if number >= UNKNOWN)


_IDS = {character: number for number, character in enumerate(SYMBOLS, UNKNOWN)}
