"""What gradients propose to an evolutionary search: one token or word exchanged, the lowest first-order loss first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from torpor.attacks.text.exits.gates import open_gates
from torpor.attacks.text.nmtsloth import LateEnd
from torpor.attacks.text.search.constraints import insertable
from torpor.attacks.text.search.gradients import TokenGradient, first_order, lowest, token_gradient
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.transformations import Span, core, replace_span, token_spans, word_spans
from torpor.attacks.text.search.words import vocabulary_words
from torpor.core.signals import GateSignals
from torpor.core.text import Codec
from torpor.targets.decoder.contract import TextTarget

Advice = Callable[[int, Tally, str], Iterator[str]]
"""From a sample's row, what is known and spent, and a text to texts that are one edit away from it, best first."""
Exchanges = Callable[[str, TokenGradient], Iterator[str]]
"""From a text and a gradient there to texts with one part exchanged, the lowest first-order loss first."""


def advice(target: TextTarget, norm: str) -> Advice:
    """Return what proposes substitutions by NMTSloth's loss, or by the margins of gates where there are any.

    Args:
        target: whose gradients are followed.
        norm: what is exchanged: ``"tokens"``, or ``"words"`` for those of the vocabulary.
    """
    signals = target.family.signals
    loss = open_gates if signals is not None and issubclass(signals, GateSignals) else LateEnd()
    codec, matrix = target.space.codec, target.embedding_matrix().detach()
    exchanges = (first_order_words if norm == "words" else first_order_tokens)(codec, matrix)

    def propose(row: int, tally: Tally, text: str) -> Iterator[str]:
        gradient = token_gradient(target, text, loss)
        tally.note(row, gradient)
        return exchanges(text, gradient)

    return propose


def first_order_tokens(codec: Codec, matrix: Tensor) -> Exchanges:
    """Return what exchanges one token for any other that may be put in.

    Args:
        codec: the target's tokenizer.
        matrix: input embeddings ``[V, D]``.
    """
    allowed = insertable(codec, len(matrix))

    def exchange(text: str, gradient: TokenGradient) -> Iterator[str]:
        ids = gradient.ids.tolist()
        for where, token in lowest(first_order(gradient, matrix, allowed)):
            yield codec.decode((*ids[:where], token, *ids[where + 1 :]))

    return exchange


def first_order_words(codec: Codec, matrix: Tensor) -> Exchanges:
    """Return what exchanges one word, of one or more tokens, for a word of the vocabulary.

    Args:
        codec: the target's tokenizer.
        matrix: input embeddings ``[V, D]``.
    """
    known = {codec.encode(f"a {word}")[-1]: word for word in vocabulary_words(codec)}
    allowed = torch.zeros(len(matrix), dtype=torch.bool)
    allowed[list(known)] = True

    def exchange(text: str, gradient: TokenGradient) -> Iterator[str]:
        words = words_in_tokens(codec, text, gradient.ids.tolist())
        if not (words and known):
            return
        changes = first_order(gradient, matrix, allowed)
        gone = (matrix[gradient.ids] * gradient.rows).sum(-1)
        by_word = torch.stack([changes[tokens[0]] - gone[tokens[1:]].sum() for _, tokens in words])
        for place, token in lowest(by_word):
            yield replace_span(text, words[place][0], known[token])

    return exchange


def words_in_tokens(codec: Codec, text: str, ids: Sequence[int]) -> list[tuple[Span, list[int]]]:
    """Return where the words are, punctuation around them left out, and which tokens make up each.

    Words that share a token with what is around them are left out.

    >>> from torpor.targets.decoder.toy_text import ToyCodec
    >>> words_in_tokens(ToyCodec(), "a cat", ToyCodec().encode("a cat"))
    [((0, 1), [0]), ((2, 5), [1])]
    """
    spans = token_spans(codec, text, ids)
    found = []
    for span in (core(text, word) for word in word_spans(text)):
        inside = [(place, one) for place, one in enumerate(spans) if one and one[0] < span[1] and one[1] > span[0]]
        if inside and (inside[0][1][0], inside[-1][1][1]) == span:
            found.append((span, [place for place, _ in inside]))
    return found
