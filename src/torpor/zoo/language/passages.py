"""Passages of several captions that stop before their last word, and the first token of that word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from typing_extensions import override

from torpor.core.text import Codec
from torpor.data.sets import DataSet


class Passages(DataSet):
    """Texts, a few joined to one by spaces, without their last word; the reference is the token that comes next.

    Args:
        data: the texts; their references are ignored.
        each: how many are joined; those left over at the end are left out.
        codec: the tokenizer, by which the next token has a number.
    """

    def __init__(self, data: DataSet, each: int, codec: Codec) -> None:
        self.data, self.each, self.codec, self.name = data, each, codec, f"{data.name}-passages"

    def fingerprint(self) -> str:
        """Return that of the texts, with how many are joined."""
        return f"{self.data.fingerprint()} joined by {self.each}"

    @override
    def files(self) -> Mapping[str, Path]:
        return self.data.files()

    def samples(self, split: str) -> Iterator[tuple[str, int]]:
        """Yield ``(passage without its last word, id of the next token)``."""
        for text in whole_passages(self.data, split, self.each):
            before, _, last = text.rpartition(" ")
            yield before, self.codec.encode(f" {last}")[0]


def whole_passages(data: DataSet, split: str, each: int) -> Iterator[str]:
    """Yield ``each`` texts at a time, joined by spaces."""
    texts = (text for text, _ in data.samples(split))
    while len(some := list(islice(texts, each))) == each:
        yield " ".join(some)
