"""What gradients propose to an evolutionary search."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from torpor.attacks.text.evolution.advice import advice, first_order_words, words_in_tokens
from torpor.attacks.text.search.gradients import TokenGradient
from torpor.attacks.text.search.tally import Tally
from torpor.attacks.text.search.words import vocabulary_words
from torpor.core.budget import Budget
from torpor.targets.decoder.toy_text import ToyText

TEXT = "a sunny tree, red cat."
PIECES = ("<pad>", " a", " cat", " dog", " tree", " sun", "ny", " red", ",", ".")


class Codec:
    """Words are tokens with the space before them, but for "sunny", which is two."""

    special: frozenset[int] = frozenset({0})
    special_texts: tuple[str, ...] = ("<pad>",)
    is_tokenizer = True
    size = len(PIECES)

    def encode(self, text: str) -> tuple[int, ...]:
        found = re.findall(r" sun|ny| ?[a-z]+|[.,]", f" {text}")
        return tuple(PIECES.index(piece) if piece in PIECES else 0 for piece in found)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(PIECES[token] for token in ids).removeprefix(" ")


def test_words_are_exchanged_in_the_order_of_a_linear_loss() -> None:
    codec = Codec()
    torch.manual_seed(0)
    matrix, slope = torch.randn(codec.size, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)

    def loss(text: str) -> float:
        return float((matrix[list(codec.encode(text))] @ slope).sum())

    ids = torch.tensor(codec.encode(TEXT))
    assert [tokens for _, tokens in words_in_tokens(codec, TEXT, ids.tolist())] == [[0], [1, 2], [3], [5], [6]]
    gradient = TokenGradient(ids, slope.expand(len(ids), -1), loss(TEXT))
    texts = list(first_order_words(codec, matrix)(TEXT, gradient))
    every = {
        " ".join((*words[:place], new + word[len(word.rstrip(",.")) :], *words[place + 1 :]))
        for words in [TEXT.split()]
        for place, word in enumerate(words)
        for new in vocabulary_words(codec)
    }
    every -= {TEXT, TEXT.replace("sunny", "sun")}  # no token gives way to itself
    assert set(texts) == every
    assert len(texts) == len(every) == 5 * 5 - 4
    assert texts[0] == min(every, key=loss)
    for place in range(5):
        here = [loss(text) for text in texts if text.split()[place] != TEXT.split()[place]]
        assert here == sorted(here)


def test_proposals_are_one_word_away_and_passes_are_counted() -> None:
    target, text = ToyText(), "the cat 9z sat."
    tally = Tally.start(target, (text,), Budget("words", 1))
    before = tally.spent(0)
    texts = list(advice(target, "words")(0, tally, text))
    assert len(set(texts)) == len(texts) > len(vocabulary_words(target.space.codec))
    assert {target.space.distance(text, found, "words") for found in texts} == {1}
    assert tally.spent(0) == before + 2
