"""Transformations: from one text to the texts that one edit reaches."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence

from torpor.core.text import Codec

PRINTABLE = string.digits + string.ascii_letters + string.punctuation
"""The 94 characters that attacks insert."""

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
