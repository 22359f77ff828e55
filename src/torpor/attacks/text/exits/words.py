"""The words of a text, what a loss's gradient says of each, and words that could stand in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from torpor.attacks.text.search.gradients import TokenGradient
from torpor.attacks.text.search.transformations import Span, core, token_spans, word_spans
from torpor.attacks.text.search.words import vocabulary_words
from torpor.core.text import Codec
from torpor.targets.capabilities import Embedded

STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "above",
        "after",
        "again",
        "all",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "but",
        "by",
        "can",
        "did",
        "do",
        "does",
        "doing",
        "down",
        "during",
        "each",
        "few",
        "for",
        "from",
        "further",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "me",
        "more",
        "most",
        "my",
        "no",
        "nor",
        "not",
        "now",
        "of",
        "off",
        "on",
        "once",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "own",
        "s",
        "same",
        "she",
        "so",
        "some",
        "such",
        "t",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "until",
        "up",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "you",
        "your",
    ]
)
"""Words that published attacks leave alone."""


class WordGradient(NamedTuple):
    """What the gradient of a loss says of one word.

    Attributes:
        span: of its letters and digits.
        row: sum of the gradients of its tokens, ``[D]``.
        here: mean of their embeddings, ``[D]``.
    """

    span: Span
    row: Tensor
    here: Tensor


def word_gradients(codec: Codec, text: str, gradient: TokenGradient, matrix: Tensor) -> list[WordGradient]:
    """Return the words of a text, those without a token of their own left out.

    Args:
        codec: of the target.
        text: that was differentiated.
        gradient: of its tokens.
        matrix: input embeddings ``[V, D]``.
    """
    spans = token_spans(codec, text, gradient.ids.tolist())
    found = []
    for word in word_spans(text):
        own = [at for at, span in enumerate(spans) if span is not None and word[0] <= span[0] < word[1]]
        if own:
            rows, ids = gradient.rows[own], gradient.ids[own]
            found.append(WordGradient(core(text, word), rows.sum(0), matrix[ids].mean(0)))
    return found


class WholeWords(NamedTuple):
    """Words that are single tokens after a space.

    Attributes:
        words: all of them.
        ids: of their tokens, int64 ``[W]``.
    """

    words: tuple[str, ...]
    ids: Tensor


@lru_cache(maxsize=4)
def whole_words(codec: Codec) -> WholeWords:
    """Return the words of a tokenizer."""
    words = vocabulary_words(codec)
    return WholeWords(words, torch.tensor([codec.encode(f" {word}")[-1] for word in words], dtype=torch.int64))


def substitutes(
    words: Sequence[WordGradient], known: WholeWords, matrix: Tensor, most: int
) -> Iterator[tuple[WordGradient, str]]:
    """Yield words and what to put in their places, the lowest first-order loss first (HotFlip).

    Args:
        words: that may be replaced.
        known: words to choose from.
        matrix: input embeddings ``[V, D]``.
        most: pairs at most.
    """
    if not words or not known.words:
        return
    rows, here = torch.stack([word.row for word in words]), torch.stack([word.here for word in words])
    change = rows @ matrix[known.ids].T - (rows * here).sum(-1, keepdim=True)
    order = change.flatten().topk(min(most, change.numel()), largest=False).indices.tolist()
    for place in order:
        word, new = divmod(place, len(known.words))
        yield words[word], known.words[new]


def untouched(words: Sequence[WordGradient], clean: str, text: str) -> list[WordGradient]:
    """Return the words that are no stop words and that the clean text has as well."""
    before = set(clean.split())
    return [
        word
        for word in words
        if text[slice(*word.span)].lower() not in STOP_WORDS
        and any(text[slice(*word.span)] in whole for whole in before)
    ]


def spread(texts: Iterable[str], most: int) -> list[str]:
    """Return at most so many of some texts, spread evenly over them.

    >>> spread("abcdef", 3)
    ['a', 'c', 'e']
    """
    known = list(texts)
    return known[:: max(1, -(-len(known) // most))]


def neighbors(target: Embedded, most: int) -> Callable[[str], list[str]]:
    """Return what finds the words of a target's tokenizer that are nearest to a word by its own embeddings.

    Args:
        target: whose tokenizer and embeddings.
        most: words at most.
    """
    codec, matrix = target.space.codec, target.embedding_matrix().detach()
    known = whole_words(codec)
    unit = torch.nn.functional.normalize(matrix[known.ids], dim=-1)

    def near(word: str) -> list[str]:
        ids = codec.encode(f" {word}") or codec.encode(word)
        here = torch.nn.functional.normalize(matrix[list(ids)].mean(0), dim=0)
        order = (unit @ here).topk(min(most + 1, len(unit))).indices.tolist()
        return [known.words[place] for place in order if known.words[place] != word.lower()][:most]

    return near
