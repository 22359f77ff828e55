from __future__ import annotations

import re

import pytest

from torpor.core.errors import UsageError
from torpor.data.sets import SPLITS
from torpor.zoo.language.numbers import LONGEST, WORDS, Spellings, in_words, spell_out


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (9, "nine"),
        (10, "ten"),
        (13, "thirteen"),
        (20, "twenty"),
        (21, "twenty-one"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (101, "one hundred one"),
        (212, "two hundred twelve"),
        (990, "nine hundred ninety"),
        (1_000, "one thousand"),
        (1_001, "one thousand one"),
        (10_010, "ten thousand ten"),
        (18_300, "eighteen thousand three hundred"),
        (100_000, "one hundred thousand"),
        (373_373, "three hundred seventy-three thousand three hundred seventy-three"),
        (999_999, "nine hundred ninety-nine thousand nine hundred ninety-nine"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert in_words(number) == words


def test_words_are_all_different() -> None:
    assert len({in_words(number) for number in range(0, 1_000_000, 37)}) == 27_028


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_other_numbers_are_refused(number: int) -> None:
    with pytest.raises(UsageError, match="expected a number from 0 to 999999"):
        in_words(number)


def test_only_numbers_are_spelled_out() -> None:
    assert spell_out("gate 007, row 10b") == "gate seven, row tenb"
    assert spell_out("no number") == "no number"


def test_texts_hold_one_to_three_numbers_and_stay_below_the_cap() -> None:
    lengths = []
    for text, answer in Spellings(held_out=500).samples("test"):
        numbers = re.findall("[0-9]+", text)
        assert 1 <= len(numbers) <= 3
        assert all(number == str(int(number)) for number in numbers)
        assert answer == spell_out(text)
        assert len(answer.encode()) <= LONGEST
        lengths.append(len(answer))
    assert max(lengths) > 5 * min(lengths)


def test_half_of_the_training_texts_have_typing_errors_that_are_copied() -> None:
    pairs = list(Spellings(train=400).samples("train"))
    typed = [pair for pair in pairs if not all(part.isdigit() or part in WORDS for part in pair[0].split(" "))]
    assert 0.35 < len(typed) / len(pairs) < 0.5  # some typing errors make another number
    assert all(answer == spell_out(text) for text, answer in pairs)


FIRST = ("dial of 31", "open 6 file ring seat 1", "find on 8")


def test_splits_are_disjoint_and_a_function_of_the_seed() -> None:
    data = Spellings(train=400, held_out=100)
    texts = {split: data.load(split).inputs for split in SPLITS}
    assert [len(set(texts[split])) for split in SPLITS] == [400, 100, 100]
    assert len(set().union(*texts.values())) == 600
    assert Spellings(train=400, held_out=50).load("test").inputs == texts["test"][:50]
    assert Spellings(train=400, held_out=50, seed=1).load("test").inputs != texts["test"][:50]
    assert texts["test"][:3] == FIRST, "equal on every machine"
    assert data.fingerprint() != Spellings(train=400, held_out=50).fingerprint()
    with pytest.raises(UsageError, match="got split 'dev'"):
        next(data.samples("dev"))
