"""Texts that are refused are not cut into something else, nor do they reach a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torpor.core.conversation import read_line
from torpor.core.errors import DataError
from torpor.core.text import Characters, TextSpace
from torpor.data.cut_texts import cut_text
from torpor.data.texts import JsonLines

SPACE = TextSpace(Characters(), 10)


def test_long_conversations_are_not_cut_to_plain_texts() -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "x" * 30}
    stored = read_line({"messages": [system, user]})
    assert cut_text(stored, SPACE) == (stored, 0)
    with pytest.raises(DataError, match="only a model with a chat template"):
        SPACE.check((stored,))
    assert cut_text("x" * 30, SPACE) == ("x" * 10, 20)


class Strict(Characters):
    """Refuses what UTF-8 cannot hold, as tokenizers do."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the bytes."""
        return tuple(text.encode())


def test_texts_that_utf8_cannot_hold_are_not_tokenized() -> None:
    assert cut_text("\ud800" * 30, TextSpace(Strict(), 10)) == ("\ud800" * 30, 0)


@pytest.mark.parametrize(
    "line",
    [
        "\ud800",
        {"prompt": "a\udfff"},
        {"messages": [{"role": "system", "content": "\ud800"}, {"role": "user", "content": "Hi"}]},
    ],
)
def test_halves_of_surrogate_pairs_are_refused_wherever_they_are(line: object, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"UTF-8 can hold.*text 1 of"):
        list(JsonLines(path)._read(path))
