from __future__ import annotations

import random
import re
from html import unescape

import pytest

from torpor.reports.samples.texts import FOLD, marked, shown, visible

HOSTILE = "<script>alert(1)</script>\u202eevil\0\u200b\n&amp;"


def marks(markup: str) -> list[str]:
    """Return what stands inside <mark>, as text."""
    return [unescape(re.sub("<.*?>", "", found)) for found in re.findall(r"<mark>(.*?)</mark>", markup, re.DOTALL)]


@pytest.mark.parametrize(
    ("clean", "attacked", "before", "after"),
    [
        ("the cat sat", "the fat cat sat", [], ["fat "]),
        ("the cat sat", "the cat sat!", [], ["!"]),
        ("the cat sat", "cat sat", ["the "], []),
        ("the cat sat", "the cut sat", ["a"], ["u"]),
        ("the cat sat", "the cat sat", [], []),
        ("the cat, and home", "the cat home bicycle", [", and"], [" bicycle"]),
        ("ab", "xy", ["ab"], ["xy"]),
        ("", "new", [], ["new"]),
    ],
)
def test_changed_characters_are_marked(clean: str, attacked: str, before: list[str], after: list[str]) -> None:
    sides = marked(clean, attacked)
    assert [marks(side) for side in sides] == [before, after]
    assert [unescape(re.sub("<.*?>", "", side)) for side in sides] == [clean, attacked]


def test_a_letter_that_looks_like_another_is_told_by_its_number() -> None:
    clean, attacked = marked("breaking Haus", "bre\u0430king H\u00e4us")
    assert marks(clean) == ["a", "a"]
    assert marks(attacked) == ["\u0430[U+0430]", "\u00e4"]  # this one looks different
    assert marks(marked("\u043c\u0430", "\u043c\u043e")[1]) == ["\u043e"]  # the text is of that script


def test_an_inserted_line_break_and_an_inserted_blank_are_marked_and_seen() -> None:
    _, attacked = marked("one two", "one\n two\u200b")
    assert marks(attacked) == ["⏎\n", "[U+200B]"]


def test_hostile_text_is_escaped_and_written_out() -> None:
    for markup in (visible(HOSTILE), shown(HOSTILE).markup, *marked(HOSTILE, "x" + HOSTILE), marked("", HOSTILE)[1]):
        assert "<script" not in markup
        assert "&lt;script&gt;" in markup
        assert "&amp;amp;" in markup
        for hidden, symbol in (("\u202e", "[U+202E]"), ("\0", "␀"), ("\u200b", "[U+200B]"), ("\n", "⏎")):
            assert symbol in markup
            assert hidden == "\n" or hidden not in markup


@pytest.mark.parametrize(
    "blank", ["\u00a0", "\u2028", "\ufe0f", "\u3164", "\u034f", "\ufeff", "\x7f", "\ue000", "\ud800"]
)
def test_characters_that_cannot_be_seen_are_numbers(blank: str) -> None:
    assert f"[U+{ord(blank):04X}]" in visible(f"a{blank}b")


def test_letters_of_any_script_stay_as_they_are() -> None:
    text = "naïve Straße שלום 日本語 🙂"
    assert visible(text) == text


def test_long_outputs_are_folded() -> None:
    assert shown("a" * FOLD).folded == ""
    folded = shown("<b> " * 300)
    assert folded.folded.startswith("&lt;b&gt; ")
    assert folded.folded.endswith("…")
    assert len(folded.folded) < len(folded.markup) / 4
    assert folded.says == "1,200 characters"


def test_long_texts_are_compared_word_by_word() -> None:
    words = [f"word{place}" for place in random.Random(0).sample(range(10**6), 350)]
    clean, attacked = " ".join(words), " ".join([*words[:200], "wordy", *words[201:]])
    assert [marks(side) for side in marked(clean, attacked)] == [[words[200] + " "], ["wordy "]]


@pytest.mark.parametrize(
    ("clean", "attacked"),
    [
        ("a" * 4096, "b" + "a" * 4000),
        ("a " * 2048, "b " + "a " * 2000),
        ("ab " * 1300, "ba " * 1300),
        ("ab" * 99, "ba" * 99),
    ],
)
def test_repetitive_texts_are_compared_too(clean: str, attacked: str) -> None:
    sides = marked(clean, attacked)
    assert marks(sides[1])[0].startswith("b")
    assert [unescape(re.sub("<.*?>", "", side)) for side in sides] == [clean, attacked]
