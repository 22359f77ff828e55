"""Transformations: from one text to the texts that one edit reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torpor.attacks.text.search.characters import PRINTABLE
from torpor.core.text import Codec

Span = tuple[int, int]
"""First character of a part of a text, and the one after its last."""


def insertions(text: str, span: Span) -> Iterator[str]:
    """Insert each printable character at each offset of a part of the text, both ends included.

    >>> next(insertions("a cat", (2, 5))), len(list(insertions("a cat", (2, 5))))
    ('a 0cat', 376)
    """
    for offset in range(span[0], span[1] + 1):
        for character in PRINTABLE:
            yield text[:offset] + character + text[offset:]


def case_flips(text: str, span: Span) -> Iterator[str]:
    """Flip the case of each letter of a part of the text, one at a time.

    >>> list(case_flips("a cat", (2, 5)))
    ['a Cat', 'a cAt', 'a caT']
    """
    for offset in range(*span):
        flipped = text[offset].swapcase()
        if flipped != text[offset] and len(flipped) == 1:
            yield text[:offset] + flipped + text[offset + 1 :]


def token_substitution(codec: Codec, ids: Sequence[int], place: int, token: int) -> str | None:
    """Return the text with another token at ``place``; None if its tokens would then be others than these.

    >>> from torpor.targets.decoder.toy_text import ToyCodec
    >>> codec = ToyCodec()
    >>> token_substitution(codec, codec.encode("a cat"), 1, codec.encode(" dog")[0])
    'a dog'
    >>> token_substitution(codec, codec.encode("9a"), 1, codec.encode("9")[0])  # 99 is one token
    """
    changed = (*ids[:place], token, *ids[place + 1 :])
    text = codec.decode(changed)
    return text if tuple(codec.encode(text)) == changed else None


def replace_span(text: str, span: Span, new: str) -> str:
    """Put ``new`` in the place of a part of the text.

    >>> replace_span("a cat", (2, 5), "dog")
    'a dog'
    """
    return text[: span[0]] + new + text[span[1] :]


def word_spans(text: str) -> list[Span]:
    """Return where the words are: what white space separates.

    >>> word_spans("a cat.")
    [(0, 1), (2, 6)]
    """
    return [match.span() for match in re.finditer(r"\S+", text)]


def core(text: str, span: Span) -> Span:
    """Return where the letters and digits of a word are, punctuation around them left out; the word if it has none.

    >>> core("a (cat).", (2, 8))
    (3, 6)
    """
    inner = re.search(r"\w(?:.*\w)?", text[span[0] : span[1]])
    return (span[0] + inner.start(), span[0] + inner.end()) if inner else span


def without_word(text: str, span: Span) -> str:
    """Delete a word, and the white space after it, or before it at the end.

    >>> without_word("a cat sat", (2, 5)), without_word("a cat", (2, 5))
    ('a sat', 'a')
    """
    after = text[span[1] :].lstrip()
    return text[: span[0]] + after if after else text[: span[0]].rstrip()


def token_spans(codec: Codec, text: str, ids: Sequence[int]) -> list[Span | None]:
    """Return where each of a text's tokens is, white space around it left out; None where that cannot be told.

    >>> from torpor.targets.decoder.toy_text import ToyCodec
    >>> token_spans(ToyCodec(), "a cat", ToyCodec().encode("a cat"))
    [(0, 1), (2, 5)]
    """
    spans: list[Span | None] = []
    before = ""
    for place in range(len(ids)):
        after = codec.decode(ids[: place + 1])
        part = after[len(before) :]
        known = text.startswith(before) and text.startswith(after) and part.strip()
        start = len(before) + len(part) - len(part.lstrip())
        spans.append((start, start + len(part.strip())) if known else None)
        before = after
    return spans


LOOK_ALIKES = str.maketrans(
    "aceijopsxyABCEHIJKMOPSTXYZ",
    "асеіјорѕхуАВСЕНІЈКМОРЅТХУΖ",  # noqa: RUF001 - that is the point
)
"""Cyrillic and Greek letters that look like Latin ones."""


def swaps(text: str, span: Span) -> Iterator[str]:
    """Swap two neighboring letters of a part of the text.

    >>> list(swaps("a cat", (2, 5)))
    ['a act', 'a cta']
    """
    for offset in range(span[0], span[1] - 1):
        if text[offset] != text[offset + 1]:
            yield text[:offset] + text[offset + 1] + text[offset] + text[offset + 2 :]


def deletions(text: str, span: Span) -> Iterator[str]:
    """Delete each character of a part of the text in turn, if more than one is there.

    >>> list(deletions("a cat", (2, 5)))
    ['a at', 'a ct', 'a ca']
    """
    if span[1] - span[0] > 1:
        for offset in range(*span):
            yield text[:offset] + text[offset + 1 :]


def look_alikes(text: str, span: Span) -> Iterator[str]:
    """Put a letter that looks alike in the place of each letter of a part of the text that has one.

    >>> len(list(look_alikes("a cat", (2, 5))))
    2
    """
    for offset in range(*span):
        other = text[offset].translate(LOOK_ALIKES)
        if other != text[offset]:
            yield text[:offset] + other + text[offset + 1 :]


def blanks(text: str, span: Span) -> Iterator[str]:
    """Put a space between two neighboring characters of a part of the text.

    >>> list(blanks("a cat", (2, 5)))
    ['a c at', 'a ca t']
    """
    for offset in range(span[0] + 1, span[1]):
        yield f"{text[:offset]} {text[offset:]}"
