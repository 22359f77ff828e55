from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.core.errors import DataError, UsageError
from torpor.data.sets import Batch
from torpor.zoo.language.tokenizer import BYTES_ONLY, MOST_TOKENS, encode, train_tokenizer, whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast as Tokenizer

TEXTS = ["a man in a hat", "a woman in a red hat", "ein Mann mit Hut", "zwei Männer sitzen"] * 3


@pytest.fixture(scope="module")
def translating() -> Tokenizer:
    return train_tokenizer(TEXTS, 300, "encoder-decoder")


@pytest.fixture(scope="module")
def continuing() -> Tokenizer:
    return train_tokenizer(TEXTS, BYTES_ONLY, "decoder-only")


def batch(inputs: list[str], references: list[str]) -> Batch:
    return Batch(torch.arange(len(inputs)), tuple(inputs), tuple(references))


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives(translating: Tokenizer, continuing: Tokenizer, text: str) -> None:
    for tokenizer in (translating, continuing):
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    "text", ["</s>", "<s> a <pad></s> b", "a\u0301 \u00e1", "  a \n\t b . ,", "\0 \x7f \U0001f9a5"]
)
def test_no_text_is_changed_or_read_as_a_special_token(translating: Tokenizer, text: str) -> None:
    tokens = translating(text).input_ids
    assert tokens[-1] == translating.eos_token_id
    assert not set(tokens[:-1]) & {0, 1, 2}
    assert translating.decode(tokens, skip_special_tokens=True) == text


def test_special_tokens_differ_and_frame_a_text(translating: Tokenizer, continuing: Tokenizer) -> None:
    for tokenizer in (translating, continuing):
        assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert len(continuing) == BYTES_ONLY
    assert 270 < len(translating) <= 300
    padded = translating(["a", "a hat in"], padding=True)
    assert set(padded) == {"input_ids", "attention_mask"}
    assert padded.input_ids[0][1:3] == [2, 0], "padded after the end"
    padded = continuing(["a", "abc"], padding=True)
    assert padded.input_ids[0][:3] == [0, 0, 1], "padded before the start"
    assert padded.input_ids[1][0] == 1
    assert padded.attention_mask[0] == [0, 0, 1, 1]


def test_the_same_texts_give_the_same_tokens() -> None:
    one, other = (train_tokenizer(iter(TEXTS), 300, "encoder-decoder") for _ in range(2))
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


def test_a_saved_tokenizer_loads_offline(translating: Tokenizer, continuing: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    texts = ["a hat </s>", "Männer sitzen"]
    for kind, tokenizer in {"translating": translating, "continuing": continuing}.items():
        tokenizer.save_pretrained(tmp_path / kind)
        loaded = AutoTokenizer.from_pretrained(tmp_path / kind, local_files_only=True)
        assert loaded(texts, padding=True) == tokenizer(texts, padding=True)
        assert loaded.model_max_length == MOST_TOKENS


def test_every_byte_needs_a_token() -> None:
    with pytest.raises(UsageError, match="expected a vocabulary of 259 tokens or more, got 258"):
        train_tokenizer([], 258, "decoder-only")


def test_encoding_frames_sources_but_not_targets(translating: Tokenizer, continuing: Tokenizer) -> None:
    [(source, target)] = encode(translating, batch(["a hat"], ["ein Hut"]), encoder_decoder=True)
    assert source == translating("a hat").input_ids
    assert translating.decode(target) == "ein Hut"
    [(source, target)] = encode(continuing, batch(["a"], [" hat"]), encoder_decoder=False)
    assert source == []
    assert continuing.decode(target) == "a hat"
    assert whole(batch(["a hat"], [])) == ["a hat"]


def test_texts_that_cannot_be_learned_from_are_data_errors(translating: Tokenizer) -> None:
    with pytest.raises(DataError, match="expected a reference for every text, got none"):
        encode(translating, batch(["a hat"], []), encoder_decoder=True)
    with pytest.raises(DataError, match="expected texts of 512 tokens or less, got 601"):
        encode(translating, batch(["a"], ["€" * 200]), encoder_decoder=True)
