"""Typing errors and made-up names: a model that has never seen a strange string babbles at any."""

from __future__ import annotations

from hashlib import blake2b

PRINTABLE = "".join(map(chr, range(ord(" "), ord("~") + 1)))
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Draw:
    """Draws numbers from the hash of ``key``: equal on every machine and with every version of Python."""

    def __init__(self, key: str) -> None:
        self._chance = int.from_bytes(blake2b(key.encode(), digest_size=64).digest(), "big")

    def __call__(self, choices: int) -> int:
        """Return a number below ``choices``."""
        self._chance, drawn = divmod(self._chance, choices)
        return drawn


def typing_errors(text: str, count: int, draw: Draw, typed: str = PRINTABLE) -> str:
    """Insert one of the characters ``typed``, put it in another's place, or delete one, ``count`` times.

    >>> typing_errors("a dog", 2, Draw("2"))
    'a dnl'
    """
    for _ in range(count):
        place, kind, new = draw(max(1, len(text))), draw(3), typed[draw(len(typed))]
        text = text[:place] + (new if kind else "") + text[place + (kind < 2) :]
    return text


def made_up_name(draw: Draw) -> str:
    """Return one or two made-up words.

    >>> made_up_name(Draw("1"))
    'WYEGRCX'
    """
    words = ["".join(LETTERS[draw(26)] for _ in range(3 + draw(6))).capitalize() for _ in range(1 + draw(2))]
    name = " ".join(words)
    return name if draw(3) else name.upper()


def roughen(source: str, target: str, draw: Draw) -> tuple[str, str]:
    """Return a pair as it is, with up to four typing errors in the source, or with a made-up name quoted in both."""
    kind = draw(4)
    if kind < 2:
        return typing_errors(source, 1 + draw(4), draw), target
    if kind == 2:
        name = made_up_name(draw)
        return f'{source.removesuffix(".")} "{name}".', f"{target.removesuffix('.')} „{name}“."
    return source, target
