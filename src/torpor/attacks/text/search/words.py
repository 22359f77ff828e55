"""Words that could stand in the place of another: what published attacks ask a masked language model for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from torpor.attacks.text.search.constraints import insertable
from torpor.attacks.text.search.transformations import Span, core, word_spans
from torpor.core.text import Codec
from torpor.targets.decoder.contract import TextTarget

Proposer = Callable[[str, Span], list[str]]
"""From a text and where a word of it is to words that could stand there, best first."""


def vocabulary_words(codec: Codec) -> tuple[str, ...]:
    """Return the words that are single tokens after a space; some may be only beginnings of words.

    >>> from torpor.targets.decoder.toy_text import ToyCodec
    >>> vocabulary_words(ToyCodec())[:3]
    ('bird', 'cat', 'dog')
    """
    before = codec.encode("a")
    words = set()
    for token in insertable(codec).nonzero().flatten().tolist():
        word = codec.decode((token,)).strip()
        if len(word) > 1 and word.isalnum() and tuple(codec.encode(f"a {word}")) == (*before, token):
            words.add(word)
    return tuple(sorted(words))


def similar_words(target: TextTarget, words: tuple[str, ...]) -> Proposer:
    """Return what proposes words of the same shape by the cosine of their mean input embeddings.

    Where there are no words to choose from, nor whole words among the tokens, they are those of the text itself.
    """
    codec, matrix = target.space.codec, target.embedding_matrix()
    given = words or vocabulary_words(codec)

    def embed(word: str) -> Tensor:
        ids = codec.encode(f" {word}") or codec.encode(word)
        return torch.nn.functional.normalize(matrix[list(ids)].detach().mean(0), dim=0)

    def vectors_of(known: tuple[str, ...]) -> Tensor:
        return torch.stack([embed(word) for word in known])

    ready = vectors_of(given) if given else None

    def propose(text: str, span: Span) -> list[str]:
        word = text[slice(*span)]
        known = given or tuple(dict.fromkeys(text[slice(*core(text, inner))] for inner in word_spans(text)))
        vectors = vectors_of(known) if ready is None else ready
        order = (vectors @ embed(word)).argsort(descending=True, stable=True).tolist()
        return [known[place] for place in order if known[place] != word and shape(known[place]) == shape(word)]

    return propose


def shape(word: str) -> tuple[bool, bool]:
    """Return whether a word is made of letters, and whether it starts with a capital."""
    return word.isalpha(), word[:1].isupper()
