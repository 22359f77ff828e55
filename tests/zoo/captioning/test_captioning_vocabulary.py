from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.data.scenes import WORDS, Scenes
from torpor.zoo.captioning.vocabulary import SPECIAL, Vocabulary

VOCABULARY = Vocabulary.of(WORDS)


def test_special_ids_differ() -> None:
    ids = [VOCABULARY.pad, VOCABULARY.start, VOCABULARY.end, VOCABULARY.unknown]
    assert len(set(ids)) == 4
    assert [VOCABULARY.words[number] for number in ids] == list(SPECIAL)
    assert len(VOCABULARY) == len(WORDS) + 4


@given(st.lists(st.sampled_from(WORDS)))
def test_what_is_encoded_decodes(words: list[str]) -> None:
    ids = VOCABULARY.encode(" ".join(words))
    assert len(ids) == len(words) + 1
    assert ids[-1] == VOCABULARY.end
    assert VOCABULARY.decode([VOCABULARY.start, *ids, VOCABULARY.pad, ids[0]]) == " ".join(words)


def test_every_caption_can_be_said() -> None:
    scenes = Scenes(held_out=200)
    for caption in scenes.load("test").references:
        ids = VOCABULARY.encode(caption)
        assert VOCABULARY.unknown not in ids
        assert VOCABULARY.decode(ids) == caption


def test_other_words_are_unknown_and_special_ones_cannot_be_written() -> None:
    ids = VOCABULARY.encode("a purple <end> three")
    assert [number == VOCABULARY.unknown for number in ids] == [False, True, True, False, False]
    assert VOCABULARY.decode(ids) == "a <unknown> <unknown> three"
    assert Vocabulary.of(["<end> a"]).words == (*SPECIAL, "a")


def test_order_does_not_depend_on_the_texts_order() -> None:
    assert Vocabulary.of(["b a", "c"]) == Vocabulary.of(["c b", "a a"])


def test_bad_vocabularies_and_ids_are_refused() -> None:
    for words in (("a",), (*SPECIAL, "a", "a")):
        with pytest.raises(UsageError, match="and then words that differ"):
            Vocabulary(words)
    for number in (-1, len(VOCABULARY)):
        with pytest.raises(UsageError, match=f"got {number}"):
            VOCABULARY.decode([number])
