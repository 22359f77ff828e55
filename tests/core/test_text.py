from __future__ import annotations

import pytest
from edit_distance import edits, least_edits
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.budget import COUNTS
from torpor.core.text import levenshtein
from torpor.targets.decoder.toy_text import ToyText

texts = st.text(alphabet="ab é\U0001f600", max_size=12)
parts = st.lists(st.sampled_from([0, 1, 97, "a", "b", -1, -2, "cat", 2**61 - 1]), max_size=8)


@given(texts, texts)
def test_edits_of_texts_are_counted_as_by_the_recursion(first: str, second: str) -> None:
    assert levenshtein(first, second) == least_edits(first, second)


@given(parts, parts)
def test_elements_are_told_apart_by_what_they_are_not_by_their_hash(
    first: list[int | str], second: list[int | str]
) -> None:
    assert levenshtein(first, second) == least_edits(first, second)
    assert levenshtein([-1, 97, 0], [-2, "a", 2**61 - 1]) == 3


@pytest.mark.parametrize("norm", COUNTS)
@given(st.text(alphabet="ab 9.", max_size=12), st.text(alphabet="ab 9.", max_size=12))
def test_the_space_measures_each_budget_in_its_own_edits(norm: str, clean: str, text: str) -> None:
    toy = ToyText()
    far = toy.space.distance(clean, text, norm)
    assert (float("inf") if far is None else far) == edits(clean, text, norm, toy.codec)
