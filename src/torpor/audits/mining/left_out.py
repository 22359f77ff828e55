"""What was left out of what is mined, in words that can be told without a private text in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torpor.data.logs.reader import InputLog


@dataclass(frozen=True)
class LeftOut:
    """Something that was left out, or changed.

    Attributes:
        said: what, without anything of the inputs' content.
        first: the first case, which may quote it; empty if there is nothing to say.
    """

    said: str
    first: str = ""

    def sentence(self, *, quoted: bool = True) -> str:
        """Return one sentence.

        Args:
            quoted: whether the first case is told.

        >>> LeftOut("2 lines were left out", "line 3: no JSON").sentence()
        '2 lines were left out; the first: line 3: no JSON.'
        """
        return f"{self.said}; the first: {self.first}." if self.first and quoted else f"{self.said}."


def number_of(count: int, noun: str) -> str:
    """Return a number of things, and whether it is one or more.

    >>> number_of(1, "line"), number_of(1200, "entry"), number_of(2, "text")
    ('1 line was', '1,200 entries were', '2 texts were')
    """
    nouns = noun if count == 1 else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {nouns} {'was' if count == 1 else 'were'}"


def unread(log: InputLog) -> list[LeftOut]:
    """Return which entries of a log could not be read, and which are no requests."""
    found = []
    if log.first_broken is not None:
        place, reason = log.first_broken
        said = f"{number_of(log.broken, log.noun)} broken and left out"
        found.append(LeftOut(said, f"{log.noun} {place}: {reason}"))
    if log.other:
        found.append(LeftOut(f"{number_of(log.other, 'span')} of something else than a request and left out"))
    return found
